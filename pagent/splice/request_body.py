"""The body of a request on its way to a job: what the caller's messages become on the wire (RFC 9112 section 6)."""

from __future__ import annotations

from pagent.buffers import Bytes
from pagent.http1.request import CHUNK_END, LAST_CHUNK, Framing, RequestHead, chunk_header
from pagent.limits import REPEAT_MAX


class RequestBody:
    """Frames the body and checks it against what the head promised.

    A head that says that no body comes, or one of no bytes, is complete by itself.

    ValueError for a body that is longer or shorter than its Content-Length: sent on, the rest would be taken for the
    next request (request smuggling), or the job would wait for ever.
    """

    __slots__ = ("_bytes", "_head", "_left", "_queue", "_repeatable", "decided", "ended")

    def __init__(self, head: RequestHead) -> None:
        self._head = head
        self.decided = head.framing is not Framing.UNDECIDED
        self.ended = head.framing is Framing.NONE or head.length == 0
        self._left = head.length or 0
        self._queue: list[Bytes] = []  # before there is a connection
        self._repeatable: list[Bytes] | None = []
        self._bytes = 0

    def add(self, data: Bytes) -> list[Bytes]:
        """A piece of the body, never empty; what to write."""
        if self.ended:
            raise ValueError("body data after the end of the body")
        if not self.decided:
            self._head = self._head.decided(body=True)
            self.decided = True
        if self._head.framing is Framing.CHUNKED:
            return [chunk_header(len(data)), data, CHUNK_END]
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("the body is longer than its Content-Length")
        return [data]

    def end(self) -> list[Bytes]:
        """The caller's end of the body; what to write. Said twice, it is nothing."""
        if self.ended:
            return []
        self.ended = True
        if not self.decided:
            self._head = self._head.decided(body=False)
            self.decided = True
        elif self._head.framing is Framing.CHUNKED:
            return [LAST_CHUNK]
        elif self._left:
            raise ValueError(f"the body is {self._left} bytes shorter than its Content-Length")
        return []

    # What is written before there is a connection, and what may have to be written again.

    def keep(self, parts: list[Bytes]) -> None:
        """There is no connection yet."""
        self._queue += parts

    def begin(self) -> list[Bytes]:
        """The head, and what was kept: what to write to a new connection."""
        parts, self._queue = [self._head.data, *self._queue], []
        self.remember(parts)
        return parts

    def remember(self, parts: list[Bytes]) -> None:
        """This much has been written; it is kept as long as it is little."""
        if self._repeatable is not None:
            for part in parts:
                self._bytes += len(part)
            if self._bytes > REPEAT_MAX:
                self._repeatable = None
            else:
                self._repeatable += parts

    def forget(self) -> None:
        """The job has answered: nothing will be sent again."""
        self._repeatable = None

    @property
    def can_repeat(self) -> bool:
        return self._repeatable is not None

    def repeat(self) -> None:
        """All of it goes to another connection."""
        assert self._repeatable is not None
        self._queue = self._repeatable[1:]
        self._repeatable = []
        self._bytes = 0
