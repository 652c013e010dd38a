"""A buffer for a head or a trailer section that arrives in any number of pieces, up to its blank line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from pagent.http1 import native
from pagent.http1.fields import BadResponse

BLANK_LINE: Final = b"\r\n\r\n"

#: Faults of a section whatever follows: a lone LF or CR (RFC 9112 2.2), NUL, and a line that continues the one before
#: (obs-fold, 5.2). The buffer looks for them while a section is incomplete. A job that ends its lines with LF alone
#: would otherwise keep its client waiting until the job closes the connection.
_FAULT: Final = re.compile(rb"(?<!\r)\n|\r[^\n]|\0|\n[ \t]")


def find_in_python(data: bytes, at: int) -> int:
    return data.find(BLANK_LINE, at)


#: Return the offset of the next blank line, -1 without one. For a head, bytes.find() takes four instructions a byte.
find_blank_line: Final[Callable[[bytes, int], int]] = native.find_blank_line or find_in_python


class SectionBuffer:
    """Cuts one section at a time from the input.

    :param limit: bytes of a section with its blank line.
    :param prefix: the bytes that a section must begin with.
    """

    __slots__ = ("_kept", "_limit", "_prefix")

    def __init__(self, limit: int, prefix: bytes) -> None:
        self._limit = limit
        self._prefix = prefix
        self._kept: bytearray | None = None

    def cut(self, data: bytes, at: int) -> tuple[bytes, int] | None:
        """Return the section without its blank line and the offset in ``data`` after it; None if it is incomplete.

        :raises BadResponse: the section is above the limit (blank line included), or has a fault already.
        """
        if self._kept is not None:
            return self._cut_kept(self._kept, data, at)
        end = find_blank_line(data, at)
        if end < 0:
            self._kept = bytearray(memoryview(data)[at:])
            self._check(self._kept, 0)
            return None
        if end + 4 - at > self._limit:
            raise BadResponse("head or trailers too large")
        return data[at:end], end + 4

    def _cut_kept(self, kept: bytearray, data: bytes, at: int) -> tuple[bytes, int] | None:
        before = len(kept)
        kept += memoryview(data)[at:]
        end = kept.find(BLANK_LINE, max(0, before - 3))
        if end < 0:
            self._check(kept, max(0, before - 1))
            return None
        if end + 4 > self._limit:
            raise BadResponse("head or trailers too large")
        self._kept = None
        return bytes(kept[:end]), at + end + 4 - before

    def _check(self, kept: bytearray, start: int) -> None:
        if not kept.startswith(self._prefix[: len(kept)]):
            raise BadResponse(f"does not begin with {self._prefix.decode()}")
        # A section of the limit's length that has no blank line yet will exceed the limit.
        if len(kept) >= self._limit:
            raise BadResponse("head or trailers too large")
        if _FAULT.search(kept, start) is not None:
            raise BadResponse("lone CR or LF, NUL or folded line")
