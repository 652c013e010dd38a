"""The lines of heads and trailers: a first line and field lines (RFC 9112 sections 2.1, 2.2 and 5).

Of twenty lines a proxy reads three, and passes the others on unchanged. So a head stays a block of bytes on its way:
:func:`scan` checks it, finds the lines of fields that are read, and makes no string of any other.
:func:`read_lines` and :func:`write_lines` are for peers and code that need all fields as pairs.

``_lines.c`` does the same in C for lines without a fault. No line that is written can begin another one, and a block
with a stray CR, LF or another control is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from pagent.http1 import native
from pagent.http1.fields import ORDINARY, is_token
from pagent.http1.target import check_pairs
from pagent.http1.wire_text import from_wire

#: A flag in the kind of a field: :func:`scan` leaves its line out.
LEFT_OUT: Final = 0x100

#: A filter by the length and the first letter of a name, kinds by name, and a function for other names.
Watched = tuple[bytes, dict[bytes, int], Callable[[str], int] | None]
#: The first line, the number of fields, the lines that are kept, and (kind, name, value) of each watched one.
Scanned = tuple[str, int, bytes, list[tuple[int, str, str]]]

_BLANKS: Final = " \t"
_CRLF: Final = b"\r\n"
_SEQUENCES: Final = (list, tuple)
#: Joined to the lines with CRLF: the end of the last line, and the blank line.
_END: Final = ("", "")
#: Bytes of a field line or start line: HTAB, SP, VCHAR and obs-text (RFC 9110 5.5).
_TEXT: Final = bytes([byte for byte in range(256) if byte == 0x09 or (byte >= 0x20 and byte != 0x7F)])
#: Lengths of names, and first letters, that the filter distinguishes.
_SLOTS: Final = 32
#: Bytes of the longest name that is looked up; longer ones go to the function.
_LOOKED_UP_MAX: Final = 64

_read_in_c: Final = native.read_lines
_scan_in_c: Final = native.scan
_write_in_c: Final = native.write_lines


def watch(kinds: Mapping[str, int], other: Callable[[str], int] | None = None, others: Iterable[str] = ()) -> Watched:
    """Return the table of field names that :func:`scan` looks for.

    :param kinds: a kind above 0 by name in lower case, with LEFT_OUT if such lines are not kept.
    :param other: called with another name that passes the filter, in its spelling; returns its kind, 0 for none.
    :param others: names in lower case that have to pass the filter, and with ``*`` at the end all that begin so.
    """
    table = bytearray(_SLOTS * _SLOTS)
    for name in (*kinds, *others):
        for length in range(_SLOTS) if name.endswith("*") else (len(name),):
            table[_slot(length, ord(name[0]))] = 1
    return bytes(table), {name.encode(): kind for name, kind in kinds.items()}, other


def _slot(length: int, first: int) -> int:
    return (length % _SLOTS) * _SLOTS + first % _SLOTS


def scan(block: bytes, has_start: bool, watched: Watched) -> Scanned:
    """Check the lines of a block, and find the lines of fields that have a kind.

    :param block: with a first line, without a blank line and the CRLF before it; otherwise lines with a CRLF each.
    :param watched: as :func:`watch` returns it.
    :raises ValueError: a field is no token, colon and value without controls (RFC 9110 5.1, 5.5).
    """
    if _scan_in_c is not None and (found := _scan_in_c(block, has_start, watched)) is not None:
        return found
    return scan_in_python(block, has_start, watched)


def scan_in_python(block: bytes, has_start: bool, watched: Watched) -> Scanned:
    if not has_start:
        if not block:
            return "", 0, b"", []
        if not block.endswith(_CRLF):
            raise ValueError("a line without its end")
        block = _CRLF + block[:-2]
    first, fields = read_lines_in_python(block)
    kept: list[bytes] = []
    found: list[tuple[int, str, str]] = []
    for line, (name, value) in zip(block.split(_CRLF)[1:], fields, strict=True):
        kind = _kind_of(name, watched)
        if kind & ~LEFT_OUT:
            found.append((kind & ~LEFT_OUT, name, value))
        if not kind & LEFT_OUT:
            kept.append(line + _CRLF)
    return first, len(fields), b"".join(kept), found


def _kind_of(name: str, watched: Watched) -> int:
    slots, kinds, other = watched
    if not slots[_slot(len(name), ord(name[0]))]:
        return 0
    if len(name) <= _LOOKED_UP_MAX and (kind := kinds.get(name.lower().encode())) is not None:
        return kind
    return other(name) if other is not None else 0


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


def pairs_of(lines: bytes) -> list[list[str]]:
    """Return [name, value] of each line that :func:`scan` has kept."""
    return read_lines(_CRLF + lines[:-2])[1] if lines else []


def lines_of(pairs: Sequence[Any]) -> bytes:
    """Return the lines of fields, (name, value) each; the errors of :func:`write_lines`."""
    return write_lines("", list(pairs))[2:-2]


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
