"""The body of a request on its way to a job: the caller's messages, framed for the wire (RFC 9112 section 6)."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

from pagent.buffers import Bytes
from pagent.http1.chunked import CHUNK_END, chunk_header
from pagent.http1.fields import Framing
from pagent.http1.heads import RequestHead
from pagent.http1.trailers import LAST_CHUNK, last_chunk
from pagent.limits import REPEAT_MAX
from pagent.runtime.metrics import STATISTICS

# Access to a member of an Enum costs three times as much as to a constant, and every request needs these.
_NO_BODY: Final = Framing.NONE
_UNDECIDED: Final = Framing.UNDECIDED
_CHUNKED: Final = Framing.CHUNKED
_SECONDS: Final = STATISTICS.proxied


class RequestBody:
    """Frames the body and checks it against its head.

    A head that announces no body, or one of no bytes, is complete by itself.

    A body that is longer or shorter than its Content-Length is a ValueError: the job would take the rest for the next
    request (request smuggling), or wait forever.
    """

    __slots__ = ("_began", "_bytes", "_framing", "_head", "_head_data", "_left", "_queue", "_repeatable", "ended")

    def __init__(self, head: RequestHead) -> None:
        self._head = head
        self._head_data = head.data
        self._framing = head.framing
        self.ended = head.framing is _NO_BODY or head.length == 0
        self._left = head.length or 0
        self._queue: list[Bytes] = []  # before there is a connection
        self._repeatable: list[Bytes] | None = []
        self._bytes = 0
        self._began = monotonic()

    def answered(self) -> None:
        """Measure the time to the head of the response."""
        _SECONDS.observe(monotonic() - self._began)

    @property
    def decided(self) -> bool:
        """Whether it is known if a body comes, so that the head can be written."""
        return self._framing is not _UNDECIDED

    def add(self, data: Bytes) -> list[Bytes]:
        """Add a piece of the body, never empty; return the bytes to write."""
        if self.ended:
            raise ValueError("body data after the end of the body")
        if self._framing is _UNDECIDED:
            self._framing = _CHUNKED
            self._head_data = self._head.chunked_data()
        if self._framing is _CHUNKED:
            return [chunk_header(len(data)), data, CHUNK_END]
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("the body is longer than its Content-Length")
        return [data]

    def end(self) -> list[Bytes]:
        """End the body; return the bytes to write. A second call does nothing."""
        if self.ended:
            return []
        self.ended = True
        if self._framing is _UNDECIDED:
            self._framing = _NO_BODY
            self._head_data = self._head.bodiless_data()
        elif self._framing is _CHUNKED:
            return [LAST_CHUNK]
        elif self._left:
            raise ValueError(f"the body is {self._left} bytes shorter than its Content-Length")
        return []

    def end_with(self, trailers: Any) -> list[Bytes]:
        """End the body with trailers, [name, value] each; return the bytes to write.

        ValueError or TypeError if they are not valid, or if the body has no place for them.
        """
        if self.ended:
            raise ValueError("trailers after the end of the body")
        if self._framing is not _CHUNKED:
            raise ValueError("trailers of a body that is not sent in chunks")
        end = last_chunk(trailers)
        self.ended = True
        return [end]

    # Bytes that are kept until there is a connection, and bytes that may have to be written again.

    def keep(self, parts: list[Bytes]) -> None:
        """Keep bytes until there is a connection."""
        self._queue += parts

    def begin(self) -> list[Bytes]:
        """Return the bytes to write to a connection first: the head, and the bytes that were kept."""
        parts, self._queue = [self._head_data, *self._queue], []
        self.remember(parts)
        return parts

    def remember(self, parts: list[Bytes]) -> None:
        """Remember bytes that have been written, up to REPEAT_MAX."""
        if self._repeatable is not None:
            for part in parts:
                self._bytes += len(part)
            if self._bytes > REPEAT_MAX:
                self._repeatable = None
            else:
                self._repeatable += parts

    def forget(self) -> None:
        """Forget the bytes that have been written: the job has answered, so the request is not repeated."""
        self._repeatable = None

    @property
    def can_repeat(self) -> bool:
        """Whether all bytes that have been written are remembered."""
        return self._repeatable is not None

    def repeat(self) -> None:
        """Keep all that was written, for another connection."""
        assert self._repeatable is not None
        self._queue = self._repeatable[1:]
        self._repeatable = []
        self._bytes = 0
