"""Parse extended headers of tar archives: the records of a pax header (POSIX.1-2001, pax, "pax Header Block")."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Final

from pagent.files.sparse import Extents, parse_map

Records = list[tuple[str, str]]

#: A length of more digits than this is longer than a header may be.
_LENGTH_DIGITS: Final = 8

_MTIME_MIN_NS: Final = -(2**31) * 10**9
_SECONDS_MAX: Final = 2**34
_MTIME_MAX_NS: Final = _SECONDS_MAX * 10**9


def records(data: bytes) -> Records:
    """Return keyword and value of each record, ``length keyword=value newline``, in order.

    ValueError for a broken one.
    """
    found: Records = []
    at = 0
    end = len(data.rstrip(b"\0"))  # some writers pad
    while at < end:
        space = data.find(b" ", at, at + _LENGTH_DIGITS)
        digits = data[at : max(space, at)]
        if not digits.isdigit():
            raise ValueError("the archive is corrupt: a pax record without a length")
        record = data[at : at + int(digits)]
        keyword, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if len(record) != int(digits) or not record.endswith(b"\n") or not equals:
            raise ValueError("the archive is corrupt: a broken pax record")
        found.append((text(keyword), text(value)))
        at += len(record)
    return found


def text(data: bytes) -> str:
    """Return a name as system calls take it: bytes that are not UTF-8 are kept (surrogateescape)."""
    return data.decode("utf-8", "surrogateescape")


def number(value: str) -> int:
    """Return a decimal number as pax writes it; ValueError."""
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise ValueError(f"the archive is corrupt: {value[:40]!r} is not a number")
    return int(value)


class Overrides:
    """The values of an entry's extended headers, which override those of its own header; None if there is none.

    ``sparse_size`` is the size of a sparse file with its holes. Its ``extents`` are None if they precede its data.
    """

    def __init__(self, found: Iterable[tuple[str, str]], long_name: str | None, long_link: str | None = None) -> None:
        self.name = long_name
        self.target = long_link
        self.size: int | None = None
        self.mtime_ns: int | None = None
        self.sparse_size: int | None = None
        self.extents: Extents | None = None

        last: dict[str, str] = {}
        runs: list[int] = []  # of version 0.0, which repeats its keywords
        for keyword, value in found:
            if keyword in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
                runs.append(number(value))
            last[keyword] = value
        # "If the value is zero-length, it shall delete any value".
        self._take({keyword: value for keyword, value in last.items() if value}, runs)

    def _take(self, last: dict[str, str], runs: list[int]) -> None:
        self.name = last.get("GNU.sparse.name") or last.get("path") or self.name
        self.target = last.get("linkpath") or self.target
        if "size" in last:
            self.size = number(last["size"])
        if "mtime" in last:
            self.mtime_ns = _nanoseconds(last["mtime"])
        version = (last.get("GNU.sparse.major", "0"), last.get("GNU.sparse.minor", "0"))
        if version == ("1", "0"):
            self.sparse_size = number(last.get("GNU.sparse.realsize", ""))
        elif version[0] != "0":
            raise ValueError(f"the archive has sparse files of version {version[0][:8]}, which is unknown")
        elif "GNU.sparse.size" in last:
            self.sparse_size = number(last["GNU.sparse.size"])
            if "GNU.sparse.map" in last:
                runs = [number(value) for value in last["GNU.sparse.map"].split(",")]
            self.extents = parse_map(runs)


def clamped_ns(mtime_ns: int) -> int:
    """Return the nearest time that every file system takes; pax allows any decimal number."""
    return min(max(mtime_ns, _MTIME_MIN_NS), _MTIME_MAX_NS)


def _nanoseconds(value: str) -> int:
    try:
        seconds = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"the archive is corrupt: {value[:40]!r} is not a time") from None
    if not seconds.is_finite():
        return 0
    if seconds.copy_abs() > _SECONDS_MAX:
        return _MTIME_MAX_NS if seconds > 0 else _MTIME_MIN_NS
    return int((seconds * 10**9).to_integral_value(ROUND_FLOOR))
