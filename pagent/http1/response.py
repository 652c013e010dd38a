"""A job's HTTP/1.1 response: bytes in, head and body out. No socket, no clock.

Strict throughout: what two readers could understand in two ways (RFC 9112 sections 6.1 and 6.3, 11.2) is a
:class:`BadResponse`, whatever a lenient reader would make of it.

Body bytes are handed on as slices of what came in, and what came in if it is nothing but body.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol

from pagent.http1.chunked import CHUNK_JOIN_MAX, ChunkedDecoder
from pagent.http1.fields import BadResponse, Framing
from pagent.http1.heads import LastHead, ResponseHead
from pagent.http1.response_head import REMEMBERED_MAX, parse_head, switch_fields
from pagent.http1.section import BLANK_LINE, SectionBuffer
from pagent.limits import INTERIM_MAX, RESPONSE_HEAD_MAX

__all__ = ["BadResponse", "Framing", "ResponseHead", "ResponseParser", "ResponseSink", "WireSink"]

#: Of the interim responses (RFC 9110 15.2, RFC 8297), those that have a meaning for a client.
_TOLD: Final = frozenset({100, 102, 103})

_NO_BODY: Final = Framing.NONE
_BY_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED


class ResponseSink(Protocol):
    """Where a response goes: head once, body any number of times (never empty), trailers if there are any, complete."""

    def head(self, head: ResponseHead, /) -> None: ...

    def body(self, data: bytes | memoryview, /) -> None: ...

    def trailers(self, fields: list[list[str]], /) -> None: ...

    def complete(self, reusable: bool, /) -> None:
        """The body came whole. ``reusable``: the connection may carry another request."""


class WireSink(Protocol):
    """What a caller that takes the wire as it is hears besides."""

    def interim(self, head: ResponseHead, /) -> None:
        """An interim response."""

    def switched(self, fields: list[list[str]], rest: bytes, /) -> None:
        """The job speaks the other protocol from here on: ``rest`` is the first of it. Nothing follows."""


class _State(Enum):
    HEAD = "head"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"
    COMPLETE = "complete"
    FAILED = "failed"


_HEAD: Final = _State.HEAD
_LENGTH: Final = _State.LENGTH
_COMPLETE: Final = _State.COMPLETE


class ResponseParser:
    """The response to one request.

    :param head_request: the request was HEAD, so no body comes whatever the head says.
    :param last: of the response before, to the same request; kept up here.
    :param wire: hears of interim responses (1xx), which are skipped otherwise.
    :param protocols: those that the request offered to switch to, in lower case; 101 is refused without.
    """

    __slots__ = (
        "_chunks",
        "_head_request",
        "_interim",
        "_keep_alive",
        "_last",
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
        last: LastHead | None = None,
        wire: WireSink | None = None,
        protocols: frozenset[str] = frozenset(),
    ) -> None:
        self._sink = sink
        self._wire = wire
        self._protocols = protocols
        self._last = last
        self._head_request = head_request
        self._state = _HEAD
        self._section: SectionBuffer | None = None  # for a head that comes in pieces
        self._interim = 0  # heads that were none of a final response
        # Of the body, once the head has come.
        self._keep_alive = False
        self._left = 0
        self._chunks: ChunkedDecoder | None = None

    # What the connection calls.

    @property
    def more(self) -> bool:
        """Whether :meth:`feed` has left some for its next call, which may be one with no bytes."""
        return self._chunks is not None and self._chunks.more

    def feed(self, data: bytes) -> None:
        """Take what the job sent; after very many chunks see :attr:`more`.

        :raises BadResponse: also on bytes behind the end of a response that was complete: drop the connection.
        """
        try:
            if self._state is _HEAD:
                self._feed_head(data)
            elif data or self.more:
                self._feed_body(data, 0)
        except BadResponse:
            self._state = _State.FAILED
            raise

    def eof(self) -> None:
        """The job closed the connection: that ends a body without a length, and breaks off any other.

        :raises BadResponse: the response is not complete.
        """
        state = self._state
        if state is _State.UNTIL_CLOSE:
            self._complete(reusable=False)
        elif state not in (_State.COMPLETE, _State.FAILED):
            error = BadResponse("connection closed before the end of the " + ("head" if state is _HEAD else "body"))
            self._state = _State.FAILED
            raise error

    # How it goes through the states.

    def _feed_head(self, data: bytes) -> None:
        last = self._last
        if last is not None and last.head is not None and self._section is None and data.startswith(last.block):
            head, at = last.head, len(last.block)
        else:
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
            self._state = _State.CHUNKED
            self._chunks = ChunkedDecoder(self._sink.body)
        else:
            self._state = _State.UNTIL_CLOSE
        self._sink.head(head)
        if at < len(data):
            self._feed_body(data, at)

    def _read_head(self, data: bytes) -> tuple[ResponseHead, int] | None:
        """The final head, and where it ends in ``data``."""
        at = 0
        while True:
            cut = self._cut_head(data, at)
            if cut is None:
                return None
            block, at = cut
            if self._wire is not None and block[9:12] == b"101":
                fields = switch_fields(block, self._protocols)
                wire, self._wire = self._wire, None
                self._state = _COMPLETE
                del self._sink
                wire.switched(fields, data[at:])
                return None
            head = parse_head(block, head_request=self._head_request)
            if head.status >= 200:
                break
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise BadResponse("interim responses without end")
            if self._wire is not None and head.status in _TOLD:
                self._wire.interim(head)
        if self._last is not None and len(block) <= REMEMBERED_MAX:
            self._last.block, self._last.head = block + BLANK_LINE, head
        return head, at

    def _cut_head(self, data: bytes, at: int) -> tuple[bytes, int] | None:
        if self._section is None:
            end = data.find(BLANK_LINE, at)
            if 0 <= end <= RESPONSE_HEAD_MAX - len(BLANK_LINE) + at:
                return data[at:end], end + len(BLANK_LINE)
            self._section = SectionBuffer(RESPONSE_HEAD_MAX, b"HTTP/1.")
        return self._section.cut(data, at)

    def _feed_body(self, data: bytes, at: int) -> None:
        state = self._state
        if state is _LENGTH:
            self._feed_length(data, at)
        elif state is _State.UNTIL_CLOSE:
            self._sink.body(_slice(data, at, len(data)))
        elif state is _State.CHUNKED:
            chunks = self._chunks
            assert chunks is not None
            end = chunks.feed(data, at)
            if end is not None:
                if chunks.fields:
                    self._sink.trailers(chunks.fields)
                self._complete(reusable=self._keep_alive and end == len(data))
        elif state is _State.COMPLETE:
            raise BadResponse("bytes behind the response")
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
            # Surplus bytes: there is no telling what they are, so nothing on this connection is the next response.
            self._complete(reusable=self._keep_alive and end == size)

    def _complete(self, *, reusable: bool) -> None:
        self._state = _COMPLETE
        self._chunks = None
        self._wire = None
        # The sink knows its parser: a cycle, which the garbage collector would have to find.
        sink = self._sink
        del self._sink
        sink.complete(reusable)


def _slice(data: bytes, start: int, end: int) -> bytes | memoryview:
    size = end - start
    if size == len(data):
        return data
    # A view costs as much as copying this much, and keeps all of ``data`` alive.
    return data[start:end] if size < CHUNK_JOIN_MAX else memoryview(data)[start:end]
