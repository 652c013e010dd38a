"""Gather the head of a client's request, which may arrive in any number of pieces, up to its blank line."""

from __future__ import annotations

import re
from typing import Final

from pagent.http1.incoming import FIELDS_TOO_LARGE, TARGET_TOO_LONG, BadRequest
from pagent.http1.section import BLANK_LINE, find_blank_line
from pagent.router_limits import INCOMING_FIELD_MAX, INCOMING_HEAD_MAX

#: Makes a head invalid whatever follows: a lone LF or CR (RFC 9112 2.2), NUL, and a line that continues the one
#: before (obs-fold, 5.2).
_FAULT: Final = re.compile(rb"(?<!\r)\n|\r[^\n]|\0|\n[ \t]")
_begins_method = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]").match
#: A request line of the longest target, with room for its method and version.
_LINE_MAX: Final = INCOMING_FIELD_MAX + 128


class HeadBuffer:
    """Cuts the head of the next request out of the bytes of a connection, which come in any number of pieces."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: bytearray | None = None

    @property
    def started(self) -> bool:
        """Whether a part of a head has arrived."""
        return self._kept is not None

    def cut(self, data: bytes, at: int) -> tuple[bytes, int] | None:
        """Return a head without its blank line, and the offset in ``data`` after it; None if it is incomplete.

        BadRequest if it is above the limit, or can no longer become valid.
        """
        # The blank lines before a head, cut in two.
        if self._kept is not None and self._kept == b"\r" and data.startswith(b"\n", at):
            self._kept = None
            at += 1
        if self._kept is not None:
            return self._cut_kept(self._kept, data, at)
        at = _skip_blank_lines(data, at)
        end = find_blank_line(data, at)
        if 0 <= end <= at + INCOMING_HEAD_MAX - len(BLANK_LINE):
            return data[at:end], end + len(BLANK_LINE)
        if at < len(data):
            self._kept = bytearray(memoryview(data)[at:])
            _check_size(self._kept, end >= 0)
            _check_start(self._kept, 0)
        return None

    def _cut_kept(self, kept: bytearray, data: bytes, at: int) -> tuple[bytes, int] | None:
        before = len(kept)
        kept += memoryview(data)[at:]
        end = kept.find(BLANK_LINE, max(0, before - 3))
        if 0 <= end <= INCOMING_HEAD_MAX - len(BLANK_LINE):
            self._kept = None
            return bytes(kept[:end]), at + end + len(BLANK_LINE) - before
        _check_size(kept, end >= 0)
        _check_start(kept, max(0, before - 1))
        return None

    def rest(self) -> bytes:
        """Remove and return the bytes of an incomplete head."""
        kept, self._kept = self._kept, None
        return bytes(kept) if kept is not None else b""


def _skip_blank_lines(data: bytes, at: int) -> int:
    """Skip blank lines before a head: some clients send a CRLF after a body (RFC 9112 2.2)."""
    while data[at : at + 2] == b"\r\n":
        at += 2
    return at


def _check_size(kept: bytearray, is_complete: bool) -> None:
    """Refuse a head that is above the limit, or will be."""
    if len(kept) > _LINE_MAX and kept.find(b"\r\n", 0, _LINE_MAX) < 0:
        raise BadRequest("the request's target is too long", TARGET_TOO_LONG)
    if is_complete or len(kept) >= INCOMING_HEAD_MAX:
        raise BadRequest("the request's head is too large", FIELDS_TOO_LARGE)


def _check_start(kept: bytearray, start: int) -> None:
    """Refuse bytes that can no longer become a valid head, without a wait for its end."""
    if kept != b"\r" and (_begins_method(kept) is None or _FAULT.search(kept, start) is not None):
        raise BadRequest("not a valid HTTP request")
