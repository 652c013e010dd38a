"""A job's HTTP/1.1 response: bytes in, head and body out. No socket, no clock.

Strict throughout: what two readers could understand in two ways (RFC 9112 sections 6.1 and 6.3, 11.2) is a
:class:`BadResponse`, whatever a lenient reader would make of it. Heads are read here, not by a C parser: for ten fields
that takes as long as a C parser with its callbacks, and what is accepted does not depend on its version.

Body bytes are handed on as slices of what came in, and what came in if it is nothing but body.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final, Protocol

from pagent.http1.chunked import ChunkedDecoder
from pagent.http1.fields import (
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    END_TO_END,
    HOST,
    ORDINARY,
    SPECIAL,
    TRANSFER_ENCODING,
    BadResponse,
    Connection,
    Framing,
    connection,
    content_length,
    decode_lines,
    kind_of,
)
from pagent.http1.heads import LastHead, ResponseHead
from pagent.http1.section import BLANK_LINE, SectionBuffer
from pagent.limits import CHUNK_JOIN_MAX, INTERIM_MAX, RESPONSE_FIELDS_MAX, RESPONSE_HEAD_MAX

__all__ = ["BadResponse", "Framing", "ResponseHead", "ResponseParser", "ResponseSink", "parse_head"]

#: The beginnings of a status line, and what may follow.
_STATUS: Final = {f"HTTP/1.{minor} {status}": status for minor in (0, 1) for status in range(100, 600)}
_BEHIND_STATUS: Final = frozenset({"", " "})
_LINES_MAX: Final = RESPONSE_FIELDS_MAX + 1
#: Bytes of a head that is worth remembering, and that 256 of may be.
_REMEMBERED_MAX: Final = 1024

_SWITCHING_PROTOCOLS: Final = 101
_NO_CONTENT: Final = 204
_NOT_MODIFIED: Final = 304
#: No body whatever the fields say (RFC 9112 6.3).
_BODILESS: Final = frozenset({*range(100, 200), _NO_CONTENT, _NOT_MODIFIED})

#: Kinds of fields that go on as they are, and that mean something here.
_PASSED: Final = frozenset({END_TO_END, CONTENT_LENGTH, CONTENT_ENCODING, ACCEPT_ENCODING, HOST})
_NOTED: Final = frozenset({CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH, CONTENT_ENCODING})

_NO_BODY: Final = Framing.NONE
_BY_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED
_UNTIL_CLOSE: Final = Framing.UNTIL_CLOSE


class ResponseSink(Protocol):
    """Where a response goes: head once, body any number of times (never empty), trailers if there are any, complete."""

    def head(self, head: ResponseHead, /) -> None: ...

    def body(self, data: bytes | memoryview, /) -> None: ...

    def trailers(self, fields: list[list[str]], /) -> None: ...

    def complete(self, reusable: bool, /) -> None:
        """The body came whole. ``reusable``: the connection may carry another request."""


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
    """The response to one request. Interim ones (1xx) are skipped, 101 is refused: nobody asked for it.

    :param head_request: the request was HEAD, so no body comes whatever the head says.
    :param last: of the response before, to the same request; kept up here.
    """

    __slots__ = ("_chunks", "_head_request", "_interim", "_keep_alive", "_last", "_left", "_section", "_sink", "_state")
    __deletable__ = ("_sink",)  # for mypyc, which else forbids it

    def __init__(self, sink: ResponseSink, *, head_request: bool, last: LastHead | None = None) -> None:
        self._sink = sink
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
            head = parse_head(block, head_request=self._head_request)
            if head.status >= 200:
                break
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise BadResponse("interim responses without end")
        if self._last is not None and len(block) <= _REMEMBERED_MAX:
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


def parse_head(section: bytes, *, head_request: bool) -> ResponseHead:
    """A head less its blank line. The same head gives the same object: it is not to be changed.

    :raises BadResponse: as the module says.
    """
    if len(section) > _REMEMBERED_MAX:
        return _parse_head(section, head_request)
    return _parse_again(section, head_request)


def _parse_head(section: bytes, head_request: bool) -> ResponseHead:
    lines = decode_lines(section)
    # RFC 9112 section 4. A missing blank behind the status is common where there is no reason phrase.
    start = lines[0]
    status = _STATUS.get(start[:12])
    if status is None or start[12:13] not in _BEHIND_STATUS:
        raise BadResponse("not the status line of an HTTP/1.1 or HTTP/1.0 response")
    if status == _SWITCHING_PROTOCOLS:
        raise BadResponse("101 without an Upgrade")
    if len(lines) > _LINES_MAX:
        raise BadResponse("too many fields")
    headers, special = _fields(lines)

    length = _length(headers, special[CONTENT_LENGTH]) if CONTENT_LENGTH in special else None
    transfer = special.get(TRANSFER_ENCODING)
    keep_alive = is_http_1_1 = start[7] == "1"
    if head_request or status in _BODILESS:
        framing = _NO_BODY
        if length is not None and (transfer is not None or status == _NO_CONTENT):
            # Not to be sent with 204 at all (RFC 9110 8.6), nor sent on from beside Transfer-Encoding (RFC 9112 6.3).
            headers = [pair for pair in headers if kind_of(pair[0]) != CONTENT_LENGTH]
    elif transfer is None:
        framing = _UNTIL_CLOSE if length is None else _BY_LENGTH
    else:
        framing = _transfer_framing(transfer, length, is_http_1_1)

    if CONNECTION in special:
        options = _connection(special[CONNECTION])
        # HTTP/1.0 with Transfer-Encoding: its framing is faulty (RFC 9112 6.1).
        keep_alive = not options.close and (is_http_1_1 or (options.keep_alive and transfer is None))
        if options.named:
            headers = [pair for pair in headers if pair[0].lower() not in options.named]
    if framing is _BY_LENGTH:
        body_length = length
    else:
        body_length = None
        keep_alive = keep_alive and framing is not _UNTIL_CLOSE
    encoding = ", ".join(special[CONTENT_ENCODING]) if CONTENT_ENCODING in special else None
    return ResponseHead(status, headers, framing, body_length, keep_alive, encoding)


# What a program answers again and again (to a poll, an event, a missing file) within one second of its Date is the same
# to the byte: looking it up takes a tenth of reading it, and a look-up in vain 2 % more.
_parse_again = lru_cache(maxsize=256)(_parse_head)


def _fields(lines: list[str]) -> tuple[list[list[str]], dict[int, list[str]]]:
    """The fields that go on, and the values of those that mean something here, by kind. The first line is no field."""
    headers: list[list[str]] = []
    special: dict[int, list[str]] = {}
    add = headers.append
    del lines[0]
    line = ":"
    try:
        for line in lines:
            pair = line.split(":", 1)
            name, value = pair
            pair[1] = value = value.strip(" \t")
            if name in ORDINARY:
                add(pair)
                continue
            # A blank before the colon, and a line that continues the one before, are names that are not tokens.
            kind = SPECIAL.get(name) or kind_of(name)
            if kind in _NOTED:
                if kind not in special:
                    special[kind] = [value]
                else:
                    special[kind].append(value)
                    if kind == CONTENT_LENGTH:
                        continue
            if kind in _PASSED:
                add(pair)
    except ValueError as error:
        raise BadResponse(str(error) if ":" in line else "field without a colon") from None
    return headers, special


def _length(headers: list[list[str]], values: list[str]) -> int:
    """The one number that all Content-Length fields must say; ``headers`` has it once, and plainly, after this."""
    first = values[0]
    length: int | None = None
    try:
        for value in values:
            length = content_length(value, length)
    except ValueError as error:
        raise BadResponse(str(error)) from None
    assert length is not None
    if len(values) > 1 or not first.isdigit() or first[0] == "0":
        for pair in headers:
            if kind_of(pair[0]) == CONTENT_LENGTH:
                pair[1] = str(length)
    return length


def _connection(values: list[str]) -> Connection:
    try:
        return connection(values)
    except ValueError as error:
        raise BadResponse(str(error)) from None


def _transfer_framing(transfer: list[str], length: int | None, is_http_1_1: bool) -> Framing:
    """RFC 9112 6.1 and 6.3; where they leave a choice between a guess and an error, the error."""
    if not is_http_1_1:
        raise BadResponse("Transfer-Encoding in HTTP/1.0")
    if length is not None:
        raise BadResponse("Transfer-Encoding and Content-Length")
    # No TE was sent, so nothing else may come (7.4); "chunked" twice, or with another last, is an error in any case.
    if len(transfer) != 1 or transfer[0].lower() != "chunked":
        raise BadResponse("Transfer-Encoding is not chunked")
    return _CHUNKED
