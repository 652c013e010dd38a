"""The chunked coding (RFC 9112 section 7.1): of a request's body on its way out, and of a response's as it arrives.

The decoder is strict. A form that two decoders could understand differently (other line ends, signs, a missing CRLF
after the data) is an error, because another decoder of the same bytes may see another end of the body there. Blanks
after a size are accepted: some servers pad the size with them (7.1.1 allows them before an extension), and every
decoder skips them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from pagent.http1.fields import BadResponse
from pagent.http1.section import SectionBuffer
from pagent.http1.trailers import trailer_fields
from pagent.limits import BODY_LENGTH_MAX, CHUNK_LINE_MAX, FRAMES_AT_ONCE, KIB, TRAILERS_MAX

#: Chunks below this size are joined with their neighbours before they are passed on; larger ones are passed as slices.
#: A call for each piece costs as much as copying some KiB.
CHUNK_JOIN_MAX: Final = 4 * KIB

#: After the data of each chunk.
CHUNK_END: Final = b"\r\n"

# 16 digits hold any size below 2**64. Blanks and an extension (7.1.1) are skipped.
_SIZE: Final = rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n"
_SIZE_PART: Final = rb"(?:[0-9A-Fa-f]{1,16}[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r?)?"

# The first size line, and those after the data of a chunk. The ``part`` patterns match an incomplete line.
_first_size = re.compile(_SIZE).match
_first_part = re.compile(_SIZE_PART).fullmatch
_next_size = re.compile(rb"\r\n" + _SIZE).match
_next_part = re.compile(rb"(?:\r?|\r\n" + _SIZE_PART + rb")").fullmatch


def chunk_header(size: int) -> bytes:
    """Return the bytes before ``size`` bytes of data, which :data:`CHUNK_END` follows."""
    if size <= 0:
        raise ValueError("a chunk of no bytes would end the body")
    return b"%x\r\n" % size


class ChunkedDecoder:
    """Passes data on as it arrives, in pieces that do not correspond to the chunks.

    :param body: called with each piece.
    """

    __slots__ = ("_body", "_left", "_match", "_part", "_rest", "_small", "_tail", "_trailers", "fields", "more")

    def __init__(self, body: Callable[[bytes | memoryview], None]) -> None:
        self._body = body
        self._match = _first_size
        self._part = _first_part
        self._left = 0  # bytes of the current chunk that have not arrived
        self._tail = b""  # an incomplete size line
        self._small: list[bytes] = []  # pieces of one feed, to be joined
        self._rest = b""  # input that one feed has left for the next
        #: Whether there is such input: one feed decodes FRAMES_AT_ONCE chunks. The next may be given no bytes.
        self.more = False
        self._trailers: SectionBuffer | None = None  # once the last chunk has come
        #: The trailers, once all is decoded: [name, value] each.
        self.fields: list[list[str]] = []

    def feed(self, data: bytes, at: int) -> int | None:
        """Decode ``data`` from ``at``; return the offset after the body, or None if the body is not complete.

        :raises BadResponse: the data before the fault has been passed on.
        """
        try:
            return self._feed(data, at)
        finally:
            self._flush()

    def _feed(self, data: bytes, at: int) -> int | None:
        if self._trailers is not None:
            return self._end(self._trailers, data, at)
        # Positions are those of ``data`` as it was given, plus ``shift``.
        shift = 0
        before = self._tail or self._rest
        if before:
            shift = len(before) - at
            data = before + (data[at:] if at else data)
            at = 0
            self._tail = self._rest = b""
            self.more = False
        size = len(data)
        left = self._left
        chunks = 0
        while True:
            if left:
                end = at + left
                if end > size:
                    self._left = end - size
                    self._piece(data, at, size)
                    return None
                if left < CHUNK_JOIN_MAX:
                    self._small.append(data[at:end])
                else:
                    self._piece(data, at, end)
                at = end
            if chunks == FRAMES_AT_ONCE and at < size:
                self._left = 0
                self._rest = data[at:]
                self.more = True
                return None
            chunks += 1
            match = self._match(data, at)
            if match is None:
                self._left = 0
                self._keep(data[at:])
                return None
            end = match.end()
            if end - at > CHUNK_LINE_MAX:
                raise BadResponse("chunk extension too long")
            at = end
            left = int(match[1], 16)
            if left > BODY_LENGTH_MAX:
                raise BadResponse("chunk size too large")
            self._match = _next_size
            self._part = _next_part
            if not left:
                # With the size line's own CRLF, an empty section begins like any other.
                self._trailers = SectionBuffer(TRAILERS_MAX, b"\r\n")
                rest = self._end(self._trailers, data, at - 2)
                return None if rest is None else rest - shift

    def _keep(self, tail: bytes) -> None:
        if len(tail) > CHUNK_LINE_MAX or self._part(tail) is None:
            raise BadResponse("bad chunk size, or no CRLF after a chunk")
        self._tail = tail

    def _piece(self, data: bytes, start: int, end: int) -> None:
        size = end - start
        if size >= CHUNK_JOIN_MAX:
            self._flush()
            self._body(data if size == len(data) else memoryview(data)[start:end])
        elif size:
            self._small.append(data[start:end])

    def _flush(self) -> None:
        if self._small:
            small, self._small = self._small, []
            self._body(small[0] if len(small) == 1 else b"".join(small))

    def _end(self, trailers: SectionBuffer, data: bytes, at: int) -> int | None:
        cut = trailers.cut(data, at)
        if cut is None:
            return None
        section, end = cut
        if section:
            self.fields = trailer_fields(section)
        return end
