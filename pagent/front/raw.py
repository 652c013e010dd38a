"""An exchange with an agent of ours: heads and bodies pass unchanged (docs/contract.rst, "Proxy")."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from pagent.errors import CallCancelledError
from pagent.front.answers import Fields, encode_interim
from pagent.front.exchange import BODY, ENDED, FIELDS, FINAL, STATUS, Exchange
from pagent.front.exchange_user import ExchangeUser
from pagent.front.routes import JobTarget
from pagent.http1.incoming import IncomingHead
from pagent.http1.lines import lines_of, pairs_of
from pagent.http1.section import BLANK_LINE, find_blank_line
from pagent.http1.wire_text import fields_from_wire, fields_to_wire, has_bytes, to_wire
from pagent.limits import RESPONSE_HEAD_MAX
from pagent.rpc.calls import OutgoingCall
from pagent.rpc.directory import AgentLink
from pagent.runtime.metrics import STATISTICS
from pagent.splice.tcp import TcpSplice
from pagent.wire import messages

_SWITCHING_PROTOCOLS: Final = 101
_OK: Final = 200
_INTERIM: Final = range(100, _OK)
#: The status of an answer by the first line of its head.
_STATUSES: Final = {b"%d\r\n" % status: status for status in range(100, 600)}
_RAW: Final[dict[str, Any]] = {"raw": True}


class RawExchange(Exchange):
    """``http_request(raw=True)``; the job's 101 makes a tunnel of it."""

    __slots__ = ("_trailers",)

    def __init__(self, user: ExchangeUser, head: IncomingHead) -> None:
        super().__init__(user, head)
        self._trailers: Fields = []

    def _make_call(self, link: AgentLink, target: JobTarget) -> OutgoingCall:
        head = self.head
        options: dict[str, Any] = {"raw": True, "upgrade": True} if head.upgrade else _RAW
        if target.port is not None:
            options = {**options, "port": target.port}
        uid, on_wire = target.job.job_uid, to_wire(target.target)
        fields = head.lines if link.connection.lines else fields_to_wire(head.fields)
        arguments = (uid, head.method, on_wire, (), fields)
        return link.connection.start_call(messages.BISTREAM, "http_request", arguments, options)

    def end_body(self, trailers: Fields) -> None:
        if trailers and self._stream is not None:
            self._stream.send(fields_to_wire(trailers))
        else:
            super().end_body(trailers)

    def stream_message(self, value: Any) -> None:
        stage = self._stage
        if stage is BODY:
            if isinstance(value, (bytes, bytearray, memoryview)):
                self._piece(value)
            elif type(value) is list:
                self._trailers = value
            else:
                self._break_off("the job broke its answer off")
        elif stage is STATUS:
            if isinstance(value, (bytes, bytearray, memoryview)):
                self._take_block(bytes(value))
                self._flush_soon()
            elif type(value) is int and (value in FINAL or value in _INTERIM):
                self._status = value
                self._stage = FIELDS
            else:
                raise ValueError("an answer begins with its status")
        elif stage is FIELDS:
            self._take_fields(value)
            self._flush_soon()

    def _take_result(self, value: Any) -> None:
        if isinstance(value, bytes):
            self._take_last(value)
        if self._stage is not ENDED:
            self._end([])

    def _take_last(self, value: bytes) -> None:
        """Take the last part of the answer, which may be all of it."""
        if self._stage is STATUS:
            self._take_block(value)
        elif value:
            self.stream_message(value)

    def _take_block(self, piece: bytes) -> None:
        """Take a head, and the beginning of the body after it. Where memory is short, the head comes in pieces."""
        block = self._held + piece
        end = find_blank_line(block, max(0, len(self._held) - len(BLANK_LINE) + 1))
        if end < 0 and len(block) <= RESPONSE_HEAD_MAX:
            self._held = block
            return
        self._held = b""
        status = _STATUSES.get(block[:5])
        body = block[end + len(BLANK_LINE) :]
        if end < 0 or status is None or (status < _OK and body):
            self._break_off("the agent's answer is not valid")
            return
        self._status = status
        self._take_fields(block[5 : end + 2])
        if body and self._stage is BODY:
            self._piece(body)

    def _take_fields(self, fields: Any) -> None:
        """Take the fields of a head: lines, or a list of pairs."""
        status = self._status
        try:
            if type(fields) is not bytes:
                fields = lines_of(fields_from_wire(fields) if has_bytes(fields) else fields)
            if self._mount is not None:
                fields = lines_of(self._mount.rewritten(pairs_of(fields), self.head))
            if status >= _OK:
                self._begin(status, fields)
            elif status == _SWITCHING_PROTOCOLS:
                if not self.head.upgrade:
                    raise ValueError("101 for a request without an upgrade")
                self._switch(encode_interim(status, fields))
            else:
                self._stage = STATUS
                if self.head.minor == 1:
                    self._user.port.write(encode_interim(status, fields))
        except (ValueError, TypeError, LookupError):
            self._break_off("the agent's answer is not valid")

    def _end(self, trailers: Fields) -> None:
        super()._end(self._trailers)

    def _switch(self, head: bytes) -> None:
        stream, call = self._stream, self._call
        if stream is None:
            raise ValueError("101 as the result of the call")
        assert call is not None
        self._stage = ENDED
        STATISTICS.responses[1] += 1
        self._user.port.write(head)
        ends = _TunnelEnds(self._user, call)
        call.result.add_done_callback(ends.call_ended)
        self._call = self._stream = None
        self._user.switched(TcpSplice(stream, ends.splice_ended, close_ends=False))


class _TunnelEnds:
    """Ends a client's connection and a call together. A tunnel keeps no head of its request, nor the exchange."""

    __slots__ = ("_call", "_user")

    def __init__(self, user: ExchangeUser, call: OutgoingCall) -> None:
        self._user = user
        self._call = call

    def call_ended(self, result: asyncio.Future[Any]) -> None:
        """Reset the client if the job's end was reset: it must not look like an end."""
        if result.exception() is not None:
            self._user.port.abort()

    def splice_ended(self, error: Exception | None) -> None:
        call = self._call
        if error is not None:
            call.cancel(CallCancelledError(str(error)))  # of a call that has ended, the stream may keep messages
        if call.is_done:
            call.stream = None  # it refers to the splice: a cycle, which the garbage collector would have to find
        self._user.tunnel_ended()
