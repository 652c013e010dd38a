"""The field lines of a head as bytes: check them, and find those that something is read from (RFC 9112 section 5).

Of twenty lines a proxy reads three and passes the others on as they are. So a head stays a block of bytes on its way,
and no string is made of a line that is not read. ``_scan.c`` does the same as :func:`scan_in_python`, in a tenth of the
time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from pagent.http1 import native

#: Where a line is in its block: its start, its colon, and its CRLF.
Place = tuple[int, int, int]

#: Lengths of names, and first letters, that a table of watched names distinguishes.
_SLOTS: Final = 32
_BLANKS: Final = b" \t"

_line = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n").match


def watch(names: Iterable[str], prefixes: Iterable[str] = ()) -> bytes:
    """Return a table of the names that :func:`scan` looks for: in any case, and with any end after a prefix.

    It looks at the length and the first letter alone, so it finds some other names, too.
    """
    table = bytearray(_SLOTS * _SLOTS)
    for name in names:
        table[_slot(len(name), ord(name[0]))] = 1
    for prefix in prefixes:
        for length in range(_SLOTS):
            table[_slot(length, ord(prefix[0]))] = 1
    return bytes(table)


def _slot(length: int, first: int) -> int:
    return (length % _SLOTS) * _SLOTS + first % _SLOTS


_NONE: Final = watch(())


def scan_in_python(block: bytes, at: int, watched: bytes) -> tuple[int, list[Place]]:
    """Return the number of lines from ``at`` to the end of the block, and the places of the watched ones.

    :param block: lines with a CRLF each, without a blank line.
    :param watched: as :func:`watch` returns it.
    :raises ValueError: a line is not a token, a colon and a value without controls (RFC 9110 5.1, 5.5).
    """
    lines, found = 0, []
    while at < len(block):
        line = _line(block, at)
        if line is None:
            raise ValueError("a field line is not valid")
        colon = block.index(b":", at)
        if watched[_slot(colon - at, block[at])]:
            found.append((at, colon, line.end() - 2))
        at = line.end()
        lines += 1
    return lines, found


_Scan = Callable[[bytes, int, bytes], tuple[int, list[Place]]]
scan: Final[_Scan] = native.scan or scan_in_python


def name_of(block: bytes, place: Place) -> str:
    """Return the name of a line, in lower case."""
    return block[place[0] : place[1]].decode("ascii").lower()


def value_of(block: bytes, place: Place) -> str:
    """Return the value of a line without blanks at its ends. Bytes that are not UTF-8 become lone surrogates."""
    return block[place[1] + 1 : place[2]].strip(_BLANKS).decode("utf-8", "surrogateescape")


def without(block: bytes, at: int, places: list[Place]) -> bytes:
    """Return the block from ``at`` on without some lines, which are in order."""
    parts = []
    for start, _, end in places:
        parts.append(block[at:start])
        at = end + 2
    parts.append(block[at:])
    return b"".join(parts)


def pairs_of(block: bytes) -> list[list[str]]:
    """Return [name, value] of each line of a block that :func:`scan` accepts."""
    pairs = []
    for line in block.split(b"\r\n")[:-1]:
        colon = line.index(b":")
        pairs.append([line[:colon].decode("ascii"), value_of(line, (0, colon, len(line)))])
    return pairs


def lines_of(pairs: Sequence[Sequence[str]]) -> bytes:
    """Return the lines of fields, (name, value) each; ValueError if one cannot be written.

    Characters that were decoded with surrogateescape are written as the bytes that they were.
    """
    lines = "".join([name + ": " + value + "\r\n" for name, value in pairs])
    block = lines.encode("utf-8", "surrogateescape")
    if scan(block, 0, _NONE)[0] != len(pairs):
        raise ValueError("a field would begin another line")
    return block
