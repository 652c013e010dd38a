"""One HTTP request of a caller, spliced to a connection of the job (docs/contract.rst, "http_request" and "Proxy").

::

    stream (body messages) -> RequestBody -> job's port
    job's port -> ResponseParser -> this splice -> stream: status, fields, body messages, the result

Once the job has switched to another protocol, :class:`~pagent.splice.tcp.TcpSplice` takes over the stream and the port.

Both directions run at the same time: a job may answer before it has read the whole body.
:mod:`pagent.splice.requesting` has the way of the request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from pagent.buffers import JOIN_MAX
from pagent.errors import PagentError, RequestRefusedError
from pagent.http1.decoder import CodingError
from pagent.http1.fields import BadResponse
from pagent.http1.heads import RequestHead, ResponseHead
from pagent.http1.lines import lines_of
from pagent.http1.response import ResponseParser
from pagent.http1.wire_text import fields_to_wire
from pagent.net.port.connection import PortConnection
from pagent.runtime.deferred import FRAMES_WORK, current_deferred
from pagent.splice.answer import (
    Caller,
    UndecodableError,
    fields_for,
    head_block,
    send_error,
    send_head,
    spoils_connection,
)
from pagent.splice.decoding import Decoding
from pagent.splice.ends import Call, StreamEnd
from pagent.splice.exchange_state import ExchangeInput, ExchangeState
from pagent.splice.pool import Pool
from pagent.splice.requesting import COMPLETE, RequestingSplice, bad_gateway
from pagent.splice.tcp import TcpSplice

_log = logging.getLogger(__name__)

_SWITCHING_PROTOCOLS: Final = 101
#: Bytes of a head and the beginning of its body that are sent together.
_HELD_MAX: Final = JOIN_MAX
#: Seconds in which the client of an old router closes its connection as the response says.
_PARTING_S: Final = 1.0

# Access to a member of an Enum costs three times as much as to a constant, and every request needs these.
_RAW: Final = Caller.RAW
_BODY: Final = ExchangeState.BODY
_DECODING: Final = ExchangeState.DECODING
_DATA: Final = ExchangeInput.DATA
_HEAD: Final = ExchangeInput.HEAD
_END: Final = ExchangeInput.END


class BrokenResponseError(PagentError):
    """The job's response broke off, or became malformed, after its head."""


class HttpSplice(RequestingSplice):
    """Receives the call's stream, uses the job's connection, and receives the parsed response.

    For a RAW caller nothing is decoded, interim responses are passed on, and trailers are a list of pairs after the
    body, in both directions.
    """

    __slots__ = ("_caller", "_decoding", "_held", "_parser", "_parts", "_timer")

    def __init__(self, call: Call, stream: StreamEnd, pool: Pool, request: RequestHead, caller: Caller) -> None:
        super().__init__(call, stream, pool, request, are_trailers_passed=caller is _RAW)
        # For life.
        self._caller = caller
        wire = self if caller is _RAW else None
        self._parser = ResponseParser(self, head_request=request.is_head, wire=wire, protocols=request.protocols)
        # The beginning of an answer in lines, within the read that brings it: the read may hold all of it.
        self._held = b""
        # From an encoded head to the end of its body.
        self._decoding: Decoding | None = None
        # For a response after which its client has to close its connection.
        self._parts = False
        self._timer: asyncio.TimerHandle | None = None

    # --- from the stream ----------------------------------------------------------------------------

    def stream_writable(self) -> None:
        if self._decoding is not None:
            self._decode(self._decoding.run)
        if self._port is not None and not self._stream.blocked:
            self._port.resume_reading()

    def stream_lost(self, reason: str) -> None:
        self._advance(_END)
        self._drop()

    # --- from the connection ------------------------------------------------------------------------

    def port_data(self, data: bytes) -> None:
        if self._state is not _BODY:
            self._body.forget()
            self._advance(_DATA)
            if self._state in COMPLETE:
                return
        try:
            self._parser.feed(data)
        except UndecodableError as undecodable:
            self._end_with_error(bad_gateway(str(undecodable)), always=True)
            return
        except (BadResponse, CodingError) as error:
            self._break_off(str(error))
            return
        if self._held:
            self._send_held()
        if self._parser.more:
            self._defer(self._feed_rest, FRAMES_WORK)

    def _feed_rest(self) -> None:
        if self._state is _BODY:
            self.port_data(b"")

    def _defer(self, work: Callable[[], None], done: int) -> None:
        """Call ``work`` in a later iteration, and read nothing from the job before."""
        if self._port is not None:
            self._port.defer(work, done)
        else:
            current_deferred().defer(work, done)

    def port_eof(self) -> None:
        if self._sent_again():
            return
        if self._parser.ends_with_connection and self._port is not None:
            completeness = self._pool.port.completeness()
            if completeness is not None:
                port, self._port = self._port, None
                port.abort()
                self._call.run(self._end_with_job(completeness))
                return
        self._end_response()

    async def _end_with_job(self, completeness: Awaitable[bool]) -> None:
        """End a response whose end is that of its connection, and maybe of the job."""
        is_complete = await completeness
        if self._state in COMPLETE:
            return
        if is_complete:
            self._end_response()
        else:
            self._break_off("the job ended within its response, which has neither a length nor chunks")

    def _end_response(self) -> None:
        try:
            self._parser.eof()
        except (BadResponse, CodingError) as error:
            self._break_off(str(error))

    def port_lost(self, error: Exception | None) -> None:
        if error is None:
            self.port_eof()
        elif not self._sent_again():
            self._break_off(f"the connection to the job was lost: {error}")

    # --- from the parser: the response ---------------------------------------------------------------

    def head(self, head: ResponseHead) -> None:
        self._body.answered()
        if self._request.in_lines:
            self._advance(_HEAD)
            self._held = head_block(head.status, self._lines_for(head) if head.local else head.lines)
            return
        fields, decoder = fields_for(self._caller, head, self._pool.port, self._request)
        self._advance(_HEAD)
        if decoder is not None:
            self._decoding = Decoding(decoder, self._stream, self._finish, self._pause_decoding)
        self._parts = spoils_connection(self._caller, head, self._request)
        send_head(self._stream, self._request, head.status, fields)

    def _lines_for(self, head: ResponseHead) -> bytes:
        return lines_of(fields_for(self._caller, head, self._pool.port, self._request)[0])

    def body(self, data: bytes | memoryview) -> None:
        if self._decoding is not None:
            self._decoding.add(data)
        elif self._held and len(self._held) + len(data) <= _HELD_MAX:
            self._held += data
        else:
            self._send_held()
            self._stream.send(data)

    def _send_held(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._stream.send(held)

    def _decode(self, work: Callable[[], None]) -> None:
        try:
            work()
        except CodingError as error:
            self._break_off(str(error))

    def _pause_decoding(self, done: int) -> None:
        self._defer(self._resume_decoding, done)

    def _resume_decoding(self) -> None:
        if self._decoding is not None:
            self._decode(self._decoding.resume)

    def trailers(self, fields: list[list[str]]) -> None:
        if self._caller is _RAW:
            self._send_held()
            self._stream.send(fields_to_wire(fields))

    def interim(self, head: ResponseHead) -> None:
        send_head(self._stream, self._request, head.status, head.headers, as_read=True)

    def switched(self, fields: list[list[str]], rest: bytes) -> None:
        if self._port is None:
            raise BadResponse("101 before the request")
        self._advance(ExchangeInput.SWITCH)
        port, self._port = self._port, None
        send_head(self._stream, self._request, _SWITCHING_PROTOCOLS, fields, as_read=True)
        tunnel = TcpSplice(self._stream, self._tunnel_ended, activity=self._pool.activity)
        port.user = tunnel
        tunnel.start(port)
        if rest and not port.closed:
            tunnel.port_data(rest)

    def _tunnel_ended(self, error: Exception | None) -> None:
        self._advance(_END)
        if error is None:
            self._call.finish()
        else:
            self._call.fail(error)

    def complete(self, reusable: bool) -> None:
        port, self._port = self._port, None
        if port is not None:
            self._give_back(port, reusable)
        if self._decoding is not None:
            self._advance(ExchangeInput.DECODE)
            self._decoding.end()
        elif self._parts:
            # The router cancels the call when its client has gone, and then writes nothing.
            self._advance(ExchangeInput.PART)
            self._timer = asyncio.get_running_loop().call_later(_PARTING_S, self._finish)
        else:
            self._finish()

    def _give_back(self, port: PortConnection, reusable: bool) -> None:
        if not (reusable and self._body.ended) or port.blocked:
            port.abort()
        elif self._request.protocols:
            port.close()
        else:
            if self._stream.blocked:
                port.resume_reading()
            self._pool.give(port)

    # --- ends -------------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._advance(_END)
        self._decoding = None
        if self._held:
            held, self._held = self._held, b""
            self._call.finish_with(held)
        else:
            self._call.finish()

    def _break_off(self, reason: str) -> None:
        """End with an error, or with a 502 as long as the caller has no head."""
        if self._state is not _BODY and self._state is not _DECODING:
            self._end_with_error(bad_gateway(reason))
            return
        self._advance(_END)
        self._drop()
        self._send_held()
        # An old router ends its client's response normally whatever the result says. A message that is no bin makes it
        # cut the client off (docs/contract.rst, "http_request").
        self._stream.send(False)
        self._call.fail(BrokenResponseError(reason))

    def _end_with_error(self, error: RequestRefusedError, *, always: bool = False) -> None:
        if self._state in COMPLETE:
            return
        self._advance(_END)
        self._drop()
        _log.info("%d for %s: %s", error.status, self._request.method, error)
        send_error(self._stream, self._caller, self._request, error, always=always)
        self._call.finish()

    def _drop(self) -> None:
        """Drop the connection, the timer, and data that is not decoded yet."""
        self._decoding = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        port, self._port = self._port, None
        if port is not None:
            port.abort()
