"""The lines of heads and trailers: a first line and field lines (RFC 9112 sections 2.1, 2.2 and 5).

``_lines.c`` does the same in C for lines without a fault. No line that is written can begin another one, and a block
with a stray CR, LF or another control is not read.
"""

from __future__ import annotations

from typing import Any, Final

from pagent.http1 import native
from pagent.http1.fields import ORDINARY, is_token
from pagent.http1.target import check_pairs
from pagent.http1.wire_text import from_wire

_BLANKS: Final = " \t"
_SEQUENCES: Final = (list, tuple)
#: Joined to the lines with CRLF: the end of the last line, and the blank line.
_END: Final = ("", "")
#: Bytes of a field line or start line: HTAB, SP, VCHAR and obs-text (RFC 9110 5.5).
_TEXT: Final = bytes([byte for byte in range(256) if byte == 0x09 or (byte >= 0x20 and byte != 0x7F)])

_read_in_c: Final = native.read_lines
_write_in_c: Final = native.write_lines


def read_lines(block: bytes) -> tuple[str, list[list[str]]]:
    """Return the first line of a block without its blank line, and [name, value] of each other.

    Names are tokens. Values have no blanks at their ends. Bytes that are not UTF-8 become lone surrogates
    (:mod:`pagent.http1.wire_text`).

    :raises ValueError: a line is not valid.
    """
    if _read_in_c is not None and (found := _read_in_c(block)) is not None:
        return found
    return read_lines_in_python(block)


def read_lines_in_python(block: bytes) -> tuple[str, list[list[str]]]:
    lines = block.decode("utf-8", "surrogateescape").split("\r\n")
    if not is_clean(block, len(lines) - 1):
        raise ValueError("control character or bare CR or LF in the head")
    fields: list[list[str]] = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("field without a colon")
        # A blank before the colon, and a line that continues the one before, are names that are not tokens.
        if not is_token(name):
            raise ValueError("field name is not a token")
        fields.append([name, value.strip(_BLANKS)])
    return lines[0], fields


def write_lines(first: str, fields: list[Any]) -> bytes:
    """Return the first line, a line for each field, (name, value) each, and the blank line.

    Blanks at the ends of values are left out. A value may be bytes. Bytes that are not UTF-8 are written as they were
    (:mod:`pagent.http1.wire_text`).

    :raises ValueError: a field cannot be written; TypeError: it is no pair of strings. The text has no value.
    """
    if _write_in_c is not None and (block := _write_in_c(first, fields)) is not None:
        return block
    return write_lines_in_python(first, fields)


def write_lines_in_python(first: str, fields: list[Any]) -> bytes:
    is_pair = [isinstance(pair, _SEQUENCES) and len(pair) == 2 for pair in fields]
    texts = [[pair[0], from_wire(pair[1])] if known else pair for pair, known in zip(fields, is_pair, strict=True)]
    check_pairs(texts, "headers", len(texts))
    lines = [first]
    for name, value in texts:
        if name not in ORDINARY and not is_token(name):
            raise ValueError("field name is not a token")
        lines.append(f"{name}: {value.strip(_BLANKS)}")
    lines += _END
    try:
        block = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError(f"header field {_faulty_name(lines)!r} has a lone surrogate") from None
    if not is_clean(block, len(lines) - 1):
        raise ValueError(f"header field {_faulty_name(lines)!r} has a control character")
    return block


def is_clean(block: bytes, line_ends: int) -> bool:
    """Return whether ``block`` has no control but HTAB and its ``line_ends`` CRLFs.

    Without its text the block consists of CRs, LFs and other controls. With others it is longer than its line ends.
    """
    return len(block.translate(None, _TEXT)) == 2 * line_ends


def _faulty_name(lines: list[str]) -> str:
    """Return the name of the first field that cannot be written."""
    for line in lines:
        try:
            if is_clean(line.encode("utf-8", "surrogateescape"), 0):
                continue
        except UnicodeEncodeError:
            pass
        break
    return line.partition(":")[0]
