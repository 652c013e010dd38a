"""Parse a job's HTTP/1.1 response: bytes in, head and body out. No socket, no clock.

The parser is strict. A form that two parsers could understand differently (RFC 9112 sections 6.1 and 6.3, 11.2) is a
:class:`BadResponse`, also where lenient parsers agree on one meaning.

Body bytes are passed on as slices of the input, or as the input itself where all of it is body.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol

from pagent.http1.chunked import CHUNK_JOIN_MAX, ChunkedDecoder
from pagent.http1.fields import BadResponse, Framing
from pagent.http1.heads import ResponseHead
from pagent.http1.response_head import parse_head, switch_fields
from pagent.http1.section import BLANK_LINE, SectionBuffer, find_blank_line
from pagent.limits import INTERIM_MAX, RESPONSE_HEAD_MAX

_NO_BODY: Final = Framing.NONE
_BY_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED


class ResponseSink(Protocol):
    """Receives a response."""

    def head(self, head: ResponseHead, /) -> None:
        """Called once, first."""

    def body(self, data: bytes | memoryview, /) -> None:
        """Called any number of times, never with no bytes."""

    def trailers(self, fields: list[list[str]], /) -> None:
        """Called after the body if there are any."""

    def complete(self, reusable: bool, /) -> None:
        """Called last. ``reusable``: the connection may carry another request."""


class WireSink(Protocol):
    """Receives the additional events of a ``raw`` caller."""

    def interim(self, head: ResponseHead, /) -> None:
        """Called with each interim response, before the head."""

    def switched(self, fields: list[list[str]], rest: bytes, /) -> None:
        """Called with a 101 instead of a head; nothing follows. ``rest``: the first bytes of the other protocol."""


class _ResponseState(Enum):
    HEAD = "head"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"
    COMPLETE = "complete"
    FAILED = "failed"


_HEAD: Final = _ResponseState.HEAD
_LENGTH: Final = _ResponseState.LENGTH
_COMPLETE: Final = _ResponseState.COMPLETE
_FAILED: Final = _ResponseState.FAILED


class ResponseParser:
    """Parses the response to one request.

    :param head_request: the request was HEAD, so no body comes whatever the head says.
    :param wire: receives interim responses (1xx), which are skipped otherwise.
    :param protocols: the protocols that the request offered to switch to, in lower case; without any, a 101 is a fault.
    """

    __slots__ = (
        "_chunks",
        "_head_request",
        "_interim",
        "_keep_alive",
        "_left",
        "_protocols",
        "_section",
        "_sink",
        "_state",
        "_wire",
    )
    __deletable__ = ("_sink",)  # mypyc forbids it otherwise

    def __init__(
        self,
        sink: ResponseSink,
        *,
        head_request: bool,
        wire: WireSink | None = None,
        protocols: frozenset[str] = frozenset(),
    ) -> None:
        self._sink = sink
        self._wire = wire
        self._protocols = protocols
        self._head_request = head_request
        self._state = _HEAD
        self._section: SectionBuffer | None = None  # for a head that comes in pieces
        self._interim = 0  # interim responses so far
        # Of the body, once the head has come.
        self._keep_alive = False
        self._left = 0
        self._chunks: ChunkedDecoder | None = None

    @property
    def more(self) -> bool:
        """Whether :meth:`feed` has left input for its next call, which may be given no bytes."""
        return self._chunks is not None and self._chunks.more

    def feed(self, data: bytes) -> None:
        """Parse bytes of the job; after very many chunks see :attr:`more`.

        :raises BadResponse: also on bytes after a complete response. Drop the connection then.
        """
        try:
            if self._state is _HEAD:
                self._feed_head(data)
            elif data or self.more:
                self._feed_body(data, 0)
        except BadResponse:
            self._state = _FAILED
            raise

    @property
    def ends_with_connection(self) -> bool:
        """Whether the end of the body is that of the connection (RFC 9112 section 6.3)."""
        return self._state is _ResponseState.UNTIL_CLOSE

    def eof(self) -> None:
        """Note that the job has closed the connection. That ends a body without a length, and cuts any other short.

        :raises BadResponse: the response is not complete.
        """
        state = self._state
        if state is _ResponseState.UNTIL_CLOSE:
            self._complete(reusable=False)
        elif state is not _COMPLETE and state is not _FAILED:
            self._state = _FAILED
            raise BadResponse("connection closed before the end of the " + ("head" if state is _HEAD else "body"))

    def _feed_head(self, data: bytes) -> None:
        found = self._read_head(data)
        if found is None:
            return
        head, at = found
        self._keep_alive = head.keep_alive
        framing = head.framing
        if framing is _NO_BODY or head.length == 0:
            self._sink.head(head)
            self._complete(reusable=head.keep_alive and at == len(data))
            return
        if framing is _BY_LENGTH:
            self._state = _LENGTH
            self._left = head.length or 0
        elif framing is _CHUNKED:
            self._state = _ResponseState.CHUNKED
            self._chunks = ChunkedDecoder(self._sink.body)
        else:
            self._state = _ResponseState.UNTIL_CLOSE
        self._sink.head(head)
        if at < len(data):
            self._feed_body(data, at)

    def _read_head(self, data: bytes) -> tuple[ResponseHead, int] | None:
        """Return the final head and where it ends in ``data``, or None if it is not complete or the job switches."""
        at = 0
        while True:
            cut = self._cut_head(data, at)
            if cut is None:
                return None
            block, at = cut
            if self._wire is not None and block[9:12] == b"101":
                self._switch(self._wire, switch_fields(block, self._protocols), data[at:])
                return None
            head = parse_head(block, head_request=self._head_request)
            if head.status >= 200:
                return head, at
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise BadResponse("too many interim responses")
            if self._wire is not None:
                self._wire.interim(head)

    def _switch(self, wire: WireSink, fields: list[list[str]], rest: bytes) -> None:
        self._state = _COMPLETE
        self._wire = None
        del self._sink
        wire.switched(fields, rest)

    def _cut_head(self, data: bytes, at: int) -> tuple[bytes, int] | None:
        if self._section is None:
            end = find_blank_line(data, at)
            if 0 <= end <= RESPONSE_HEAD_MAX - len(BLANK_LINE) + at:
                return data[at:end], end + len(BLANK_LINE)
            self._section = SectionBuffer(RESPONSE_HEAD_MAX, b"HTTP/1.")
        return self._section.cut(data, at)

    def _feed_body(self, data: bytes, at: int) -> None:
        state = self._state
        if state is _LENGTH:
            self._feed_length(data, at)
        elif state is _ResponseState.UNTIL_CLOSE:
            self._sink.body(_slice(data, at, len(data)))
        elif state is _ResponseState.CHUNKED:
            chunks = self._chunks
            assert chunks is not None
            end = chunks.feed(data, at)
            if end is not None:
                if chunks.fields:
                    self._sink.trailers(chunks.fields)
                self._complete(reusable=self._keep_alive and end == len(data))
        elif state is _COMPLETE:
            raise BadResponse("bytes after the response")
        else:
            raise RuntimeError("the response has failed before")

    def _feed_length(self, data: bytes, at: int) -> None:
        end = at + self._left
        size = len(data)
        if end > size:
            self._left = end - size
            self._sink.body(_slice(data, at, size))
        else:
            self._sink.body(_slice(data, at, end))
            # Surplus bytes have no known meaning, so the next bytes on this connection are no next response either.
            self._complete(reusable=self._keep_alive and end == size)

    def _complete(self, *, reusable: bool) -> None:
        self._state = _COMPLETE
        self._chunks = None
        self._wire = None
        # The sink refers to its parser: a cycle, which the garbage collector would have to find.
        sink = self._sink
        del self._sink
        sink.complete(reusable)


def _slice(data: bytes, start: int, end: int) -> bytes | memoryview:
    size = end - start
    if size == len(data):
        return data
    # A view costs as much as a copy of this many bytes, and keeps all of ``data`` alive.
    return data[start:end] if size < CHUNK_JOIN_MAX else memoryview(data)[start:end]
