"""Gathers a head or a trailer section, which may come in any number of pieces, up to its blank line."""

from __future__ import annotations

import re
from typing import Final

from pagent.http1.fields import BadResponse

BLANK_LINE: Final = b"\r\n\r\n"

#: What makes a section bad whatever follows: a lone LF or CR (RFC 9112 2.2), NUL, and a line that continues the one
#: before (obs-fold, 5.2). Looked for while a section is incomplete: a job that ends its lines with LF alone would
#: otherwise be waited for until it gives up.
_FAULT: Final = re.compile(rb"(?<!\r)\n|\r[^\n]|\0|\n[ \t]")


class SectionBuffer:
    """One section at a time; ready for the next one when it has returned one.

    :param limit: bytes of a section with its blank line.
    :param prefix: what it must begin with.
    """

    __slots__ = ("_kept", "_limit", "_prefix")

    def __init__(self, limit: int, prefix: bytes) -> None:
        self._limit = limit
        self._prefix = prefix
        self._kept: bytearray | None = None

    def cut(self, data: bytes, at: int) -> tuple[bytes, int] | None:
        """The section less its blank line, and where ``data`` goes on behind it; None if more is to come.

        :raises BadResponse: when the section is above the limit (blank line included), or can no longer become good.
        """
        if self._kept is not None:
            return self._cut_kept(self._kept, data, at)
        end = data.find(BLANK_LINE, at)
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
            raise BadResponse(f"does not begin with {self._prefix!r}")
        # As long as the limit and without its blank line, it will be longer.
        if len(kept) >= self._limit:
            raise BadResponse("head or trailers too large")
        if _FAULT.search(kept, start) is not None:
            raise BadResponse("bare CR or LF, NUL or folded line")
