"""One HTTP request of a caller, spliced to a connection of the job (docs/contract.rst, "http_request").

::

    stream (body messages) -> RequestBody -> job's port
    job's port -> ResponseParser -> this splice -> stream: status, headers, body messages, the result

Once the job has switched to another protocol, :class:`~pagent.splice.tcp.TcpSplice` takes over the stream and the port.

Both directions run at the same time: a job may answer before it has read the whole body. Nothing here waits: a kept
connection is used within the callback that received the call, and only a new one takes a task, for its connecting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from pagent.buffers import Bytes
from pagent.errors import PagentError
from pagent.http1.coding import CodingError, UnknownCodingError, decoder_for, is_encoded
from pagent.http1.fields import Framing
from pagent.http1.heads import ResponseHead
from pagent.http1.request import RequestHead
from pagent.http1.response import BadResponse, ResponseParser
from pagent.net.port.connection import PortConnection
from pagent.runtime.deferred import FRAMES_LABOUR, current_deferred
from pagent.splice.answer import Caller, bad_gateway, local_fields, usual_fields, without_coding
from pagent.splice.decoding import Decoding
from pagent.splice.ends import Call, StreamEnd
from pagent.splice.pool import Pool
from pagent.splice.request_body import RequestBody
from pagent.splice.tcp import TcpSplice
from pagent.wire.messages import pack

_log = logging.getLogger(__name__)

_SWITCHING_PROTOCOLS: Final = 101
_PARTIAL_CONTENT: Final = 206
_BAD_GATEWAY: Final = 502

# As in pagent.http1: every request asks.
_FIELD: Final = Caller.FIELD
_RAW: Final = Caller.RAW


class BrokenResponseError(PagentError):
    """The job broke its response off, or garbled it, after its head."""


class UndecodableError(BadResponse):
    """The job's response is good, and encoded in a way that cannot be undone for this caller."""


class HttpSplice:
    """Receiver of the call's stream, user of the job's connection, sink of the response: all three are one exchange.

    For a RAW caller nothing is decoded, interim responses are told, and trailers follow the body as a list of pairs.
    """

    __slots__ = (
        "_body",
        "_call",
        "_caller",
        "_decoding",
        "_ended",
        "_head_sent",
        "_new",
        "_parser",
        "_pool",
        "_port",
        "_request",
        "_reused",
        "_stream",
    )

    def __init__(self, call: Call, stream: StreamEnd, pool: Pool, request: RequestHead, caller: Caller) -> None:
        self._call = call
        self._stream = stream
        self._pool = pool
        self._request = request
        self._caller = caller
        self._body = RequestBody(request)
        self._port: PortConnection | None = None
        self._reused = False  # the connection was a kept one, and has not answered yet
        self._new = False  # it is a new one, and has not answered yet
        self._parser = ResponseParser(
            self,
            head_request=request.is_head,
            last=request.last,
            wire=self if caller is _RAW else None,
            protocols=request.protocols,
        )
        self._decoding: Decoding | None = None
        self._head_sent = False
        self._ended = False

    def start(self) -> None:
        """Begin. A request that does not say whether it has a body is sent once its first body message tells."""
        self._stream.attach(self, splits=True)  # first: connecting holds it
        self._hold_early()
        if self._body.decided and self._port is None:
            self._connect()

    # --- from the stream: the request's body -------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise ValueError(f"a request body is bytes, not {type(value).__name__}")
        if self._ended:
            return
        parts = self._body.add(value) if value else self._body.end()
        self._hold_early()
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

    def _hold_early(self) -> None:
        """What comes after the request is of the other protocol: it waits until the job has switched."""
        if self._request.protocols and self._body.ended:
            self._stream.hold()

    def _release(self) -> None:
        if not (self._request.protocols and self._body.ended):
            self._stream.release()

    # --- the connection ---------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._ended:
            return
        port = None if self._request.protocols else self._pool.take(self, repeatable=self._request.idempotent)
        if port is not None:
            self._reused = True
            self._begin(port)
            return
        self._stream.hold()
        self._call.run(self._connect_anew())

    async def _connect_anew(self) -> None:
        try:
            port = await self._pool.connect(self, resets=bool(self._request.protocols))
        except OSError as error:
            self._bad_gateway(f"the job does not accept a connection: {error}")
            return
        self._new = True
        if self._ended:
            self._pool.answered(self)
            port.abort()
            return
        self._begin(port)
        if not port.blocked:  # it may be by what was kept while connecting; port_writable() releases then
            self._release()

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
        self._reused = False
        if self._new:
            self._heard()
        try:
            self._parser.feed(data)
        except UndecodableError as undecodable:
            self._bad_gateway(str(undecodable), always=True)
            return
        except (BadResponse, CodingError) as error:
            self._broken(str(error))
            return
        if self._port is not None and self._parser.more:
            self._port.defer(self._feed_on, FRAMES_LABOUR)

    def _heard(self) -> None:
        """The new connection has been answered, or waits for no answer any more."""
        self._new = False
        self._pool.answered(self)

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
        self._release()

    def port_lost(self, error: Exception | None) -> None:
        if self._sent_again():
            return
        if error is None:
            self.port_eof()
        else:
            self._broken(f"the connection to the job was lost: {error}")

    def _sent_again(self) -> bool:
        """A kept connection that ends before it answered was closed by the job while idle: take a new one, once."""
        if not self._reused or self._ended:
            return False
        self._reused = False
        self._pool.closed_unannounced()
        if not (self._request.idempotent and self._body.can_repeat):
            return False
        self._drop_port()
        self._body.repeat()
        self._stream.hold()
        self._call.run(self._connect_anew())
        return True

    # --- from the parser: the response ---------------------------------------------------------------

    def head(self, head: ResponseHead) -> None:
        packed = head.packed_usual if self._caller is _FIELD else head.packed
        if packed is None:
            packed = self._pack(head)
        self._head_sent = True
        self._stream.send_packed(packed[0])
        self._stream.send_packed(packed[1])

    def _pack(self, head: ResponseHead) -> tuple[bytes, bytes]:
        """Status and fields as this caller gets them; kept with the head where all of its kind get them so."""
        fields = head.headers
        if head.content_encoding is not None and self._caller is not _RAW:
            encoded = is_encoded(head.content_encoding)
            bodiless = head.framing is Framing.NONE
            if encoded and not bodiless and head.length != 0:
                self._begin_decoding(head)
            fields = without_coding(fields, encoded=encoded, bodiless=bodiless)
        if head.local:
            fields = local_fields(fields, self._caller, self._pool.port, self._request)
        if self._caller is _FIELD:
            fields = usual_fields(fields, head)
        packed = (pack(head.status), pack(fields))
        if head.content_encoding is None and not head.local:
            if self._caller is _FIELD:
                head.packed_usual = packed
            else:
                head.packed = packed
        return packed

    def _begin_decoding(self, head: ResponseHead) -> None:
        try:
            decoder = decoder_for(head.content_encoding)
        except UnknownCodingError as error:
            raise UndecodableError(f"the job's response is encoded though it was asked for none: {error}") from None
        if head.status == _PARTIAL_CONTENT:
            # Its ranges count encoded bytes (RFC 9110 8.8.3, 14.1.2): part of a coding cannot be undone.
            raise BadResponse("the job's response is a part of an encoded body")
        assert decoder is not None
        self._decoding = Decoding(decoder, self._stream, self._call.finish, self._pause_decoding)

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
            self._port.defer(self._decode_on, done)
        else:
            current_deferred().defer(self._decode_on, done)

    def _decode_on(self) -> None:
        if self._decoding is not None:
            self._decode(self._decoding.go_on)

    def trailers(self, fields: list[list[str]]) -> None:
        if self._caller is _RAW:
            self._stream.send(fields)

    def interim(self, head: ResponseHead) -> None:
        self._stream.send(head.status)
        self._stream.send(head.headers)

    def switched(self, fields: list[list[str]], rest: bytes) -> None:
        port, self._port = self._port, None
        assert port is not None
        self._ended = self._head_sent = True
        self._stream.send(_SWITCHING_PROTOCOLS)
        self._stream.send(fields)
        tunnel = TcpSplice(self._stream, self._tunnel_ended)
        port.user = tunnel
        tunnel.start(port)
        if rest and not port.closed:
            tunnel.port_data(rest)

    def _tunnel_ended(self, error: Exception | None) -> None:
        if error is None:
            self._call.finish()
        else:
            self._call.fail(error)

    def complete(self, reusable: bool) -> None:
        self._ended = True
        port, self._port = self._port, None
        if port is not None:
            if not (reusable and self._body.ended) or port.blocked:
                port.abort()
            elif self._request.protocols:
                port.close()
            else:
                if self._stream.blocked:
                    port.resume_reading()
                self._pool.give(port)
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
        # the client off (docs/contract.rst, "http_request").
        self._stream.send(False)
        self._call.fail(BrokenResponseError(reason))

    def _bad_gateway(self, reason: str, *, always: bool = False) -> None:
        """End with a 502; ``always``: say why also to a router of the field."""
        if self._ended:
            return
        self._ended = True
        self._drop_port()
        _log.info("502 for %s: %s", self._request.method, reason)
        fields, body = bad_gateway(reason)
        self._stream.send(_BAD_GATEWAY)
        # The contract with routers of the field: an empty list, and no body where the job did not answer (part 1).
        self._stream.send([] if self._caller is _FIELD else fields)
        if (always or self._caller is not _FIELD) and not self._request.is_head:
            self._stream.send(body)
        self._call.finish()

    def _drop_port(self) -> None:
        port, self._port = self._port, None
        if self._new:
            self._heard()
        if port is not None:
            port.abort()
