"""One HTTP request of a caller, spliced to a connection of the job (``http_request``, spec agent.md).

::

    stream (body messages) -> RequestBody -> job's port
    job's port -> ResponseParser -> this splice -> stream: status, headers, body messages, the result

Both directions run at the same time: a job may answer before it has read the whole body. Nothing here waits: a kept
connection is used within the callback that received the call, and only a new one takes a task, for its connecting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pagent.buffers import Bytes
from pagent.errors import PagentError
from pagent.http1.coding import CodingError, UnknownCodingError, decoder_for
from pagent.http1.fields import Framing
from pagent.http1.heads import ResponseHead
from pagent.http1.request import RequestHead
from pagent.http1.response import BadResponse, ResponseParser
from pagent.limits import FRAMES_LABOUR
from pagent.net.deferred import current_deferred
from pagent.net.port import PortConnection
from pagent.splice.decoding import Decoding
from pagent.splice.ends import Call, StreamEnd
from pagent.splice.pool import Pool
from pagent.splice.request_body import RequestBody
from pagent.wire.messages import pack

_log = logging.getLogger(__name__)

#: They describe the body as the job encoded it, which is not as the caller gets it; its ranges are of no use there.
_ENCODED_FIELDS = frozenset({"content-encoding", "content-length", "accept-ranges"})
_PARTIAL_CONTENT = 206


class BrokenResponseError(PagentError):
    """The job broke its response off, or garbled it, after its head."""


class HttpSplice:
    """Receiver of the call's stream, user of the job's connection, sink of the response: all three are one exchange.

    ``raw``: nothing is decoded, and trailers follow the body as a list of pairs.
    """

    __slots__ = (
        "_body",
        "_call",
        "_decoding",
        "_ended",
        "_head_sent",
        "_parser",
        "_pool",
        "_port",
        "_raw",
        "_request",
        "_reused",
        "_stream",
    )

    def __init__(self, call: Call, stream: StreamEnd, pool: Pool, request: RequestHead, raw: bool) -> None:
        self._call = call
        self._stream = stream
        self._pool = pool
        self._request = request
        self._raw = raw
        self._body = RequestBody(request)
        self._port: PortConnection | None = None
        self._reused = False
        self._parser = ResponseParser(self, head_request=request.is_head, last=request.last)
        self._decoding: Decoding | None = None
        self._head_sent = False
        self._ended = False

    def start(self) -> None:
        """Begin. A request that does not say whether it has a body is sent once its first body message tells."""
        self._stream.attach(self)  # first: connecting holds it
        if self._body.decided and self._port is None:
            self._connect()

    # --- from the stream: the request's body -------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise ValueError(f"a request body is bytes, not {type(value).__name__}")
        if self._ended:
            return
        parts = self._body.add(value) if value else self._body.end()
        if self._port is None:
            if self._body.decided:
                self._body.keep(parts)
                self._connect()
        elif parts:
            self._body.remember(parts)
            self._write(self._port, parts)

    def stream_closed(self) -> None:
        if not self._body.ended:
            self.stream_message(b"")

    def stream_blocked(self) -> None:
        if self._port is not None:
            self._port.pause_reading()

    def stream_writable(self) -> None:
        if self._decoding is not None:
            self._decode(self._decoding.run)
        if self._port is not None and not self._stream.blocked:
            self._port.resume_reading()

    def stream_lost(self, reason: str) -> None:
        self._ended = True
        self._decoding = None
        self._drop_port()

    # --- the connection ---------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._ended:
            return
        # What may not be sent twice is not sent on a connection that has just been closed.
        port = self._pool.take(self, ask_kernel=not self._request.idempotent)
        if port is not None:
            self._reused = True
            self._begin(port)
            return
        self._stream.hold()
        self._call.run(self._connect_anew())

    async def _connect_anew(self) -> None:
        try:
            port = await self._pool.connect(self)
        except OSError as error:
            self._bad_gateway(f"the job does not accept a connection: {error}")
            return
        if self._ended:
            port.abort()
            return
        self._reused = False
        self._begin(port)
        if not port.blocked:  # it may be by what was kept while connecting; port_writable() releases then
            self._stream.release()

    def _begin(self, port: PortConnection) -> None:
        self._port = port
        if self._stream.blocked:
            port.pause_reading()
        self._write(port, self._body.begin())

    @staticmethod
    def _write(port: PortConnection, parts: list[Bytes]) -> None:
        if len(parts) == 1:
            port.write(parts[0])
        else:
            port.writelines(parts)

    def port_data(self, data: bytes) -> None:
        self._body.forget()
        try:
            self._parser.feed(data)
        except (BadResponse, CodingError) as error:
            self._broken(str(error))
            return
        if self._port is not None and self._parser.more:
            self._port.later(self._feed_on, FRAMES_LABOUR)

    def _feed_on(self) -> None:
        if not self._ended:
            self.port_data(b"")

    def port_eof(self) -> None:
        if self._sent_again():
            return
        try:
            self._parser.eof()
        except (BadResponse, CodingError) as error:
            self._broken(str(error))

    def port_blocked(self) -> None:
        self._stream.hold()

    def port_writable(self) -> None:
        self._stream.release()

    def port_lost(self, error: Exception | None) -> None:
        if self._sent_again():
            return
        if error is None:
            self.port_eof()
        else:
            self._broken(f"the connection to the job was lost: {error}")

    def _sent_again(self) -> bool:
        """A kept connection that ends before it answered was closed by the job while idle: take a new one, once."""
        if not (self._reused and self._request.idempotent and self._body.can_repeat) or self._ended:
            return False
        self._drop_port()
        self._reused = False
        self._body.repeat()
        self._stream.hold()
        self._call.run(self._connect_anew())
        return True

    # --- from the parser: the response ---------------------------------------------------------------

    def head(self, head: ResponseHead) -> None:
        if head.content_encoding is not None and not self._raw:
            self._decoded_head(head, head.content_encoding)
            return
        packed = head.packed
        if packed is None:
            packed = head.packed = (pack(head.status), pack(head.headers))
        self._head_sent = True
        self._stream.send_packed(packed[0])
        self._stream.send_packed(packed[1])

    def _decoded_head(self, head: ResponseHead, content_encoding: str) -> None:
        # No body, nothing to decode: what HEAD or a 304 says of a coding is about another response.
        if head.framing is not Framing.NONE and head.length != 0:
            try:
                decoder = decoder_for(content_encoding)
            except UnknownCodingError as error:
                raise BadResponse(str(error)) from None
        else:
            decoder = None
        if decoder is not None:
            if head.status == _PARTIAL_CONTENT:
                # Its ranges count encoded bytes (RFC 9110 8.8.3, 14.1.2): part of a coding cannot be undone.
                raise BadResponse("a part of an encoded body")
            self._decoding = Decoding(decoder, self._stream, self._call.finish, self._pause_decoding)
        self._head_sent = True
        self._stream.send(head.status)
        self._stream.send([pair for pair in head.headers if pair[0].lower() not in _ENCODED_FIELDS])

    def body(self, data: bytes | memoryview) -> None:
        if self._decoding is None:
            self._stream.send(data)
        else:
            self._decoding.add(data)

    def _decode(self, work: Callable[[], None]) -> None:
        try:
            work()
        except CodingError as error:
            self._broken(str(error))

    def _pause_decoding(self, done: int) -> None:
        if self._port is not None:
            self._port.later(self._decode_on, done)
        else:
            current_deferred().later(self._decode_on, done)

    def _decode_on(self) -> None:
        if self._decoding is not None:
            self._decode(self._decoding.go_on)

    def trailers(self, fields: list[list[str]]) -> None:
        if self._raw:
            self._stream.send(fields)

    def complete(self, reusable: bool) -> None:
        self._ended = True
        port, self._port = self._port, None
        if port is not None:
            if reusable and self._body.ended and not port.blocked:
                if self._stream.blocked:
                    port.resume_reading()
                self._pool.give(port)
            else:
                port.abort()
        if self._decoding is None:
            self._call.finish()
        else:
            self._decoding.end()

    # --- ends -------------------------------------------------------------------------------------

    def _broken(self, reason: str) -> None:
        if not self._head_sent:
            self._bad_gateway(reason)
            return
        self._ended = True
        self._decoding = None
        self._drop_port()
        # A router of the field ends its client's response cleanly whatever the result says; what is no bin makes it cut
        # the client off (spec agent.md, "http_request").
        self._stream.send(False)
        self._call.fail(BrokenResponseError(reason))

    def _bad_gateway(self, reason: str) -> None:
        if self._ended:
            return
        self._ended = True
        self._drop_port()
        _log.info("502 for %s: %s", self._request.method, reason)
        self._stream.send(502)
        self._stream.send([])
        self._call.finish()

    def _drop_port(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.abort()
