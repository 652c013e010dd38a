"""An exchange with an agent of ours: heads and bodies pass unchanged (docs/contract.rst, "Proxy")."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from pagent.front.answers import BadAnswer, Fields, encode_interim
from pagent.front.exchange import BODY, ENDED, FIELDS, FINAL, STATUS, Exchange, ExchangeUser
from pagent.front.routes import JobTarget
from pagent.http1.incoming import IncomingHead
from pagent.http1.wire_text import fields_from_wire, fields_to_wire, has_bytes, to_wire
from pagent.rpc.calls import OutgoingCall
from pagent.rpc.directory import AgentLink
from pagent.splice.tcp import TcpSplice
from pagent.wire import messages

_SWITCHING_PROTOCOLS: Final = 101
_OK: Final = 200
_INTERIM: Final = range(100, _OK)
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
        uid = target.job.job_uid
        if head.is_ascii:
            arguments: tuple[Any, ...] = (uid, head.method, target.target, (), head.fields)
        else:
            arguments = (uid, head.method, to_wire(target.target), (), fields_to_wire(head.fields))
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
            if type(value) is not int or not (value in FINAL or value in _INTERIM):
                raise ValueError("an answer begins with its status")
            self._status = value
            self._stage = FIELDS
        elif stage is FIELDS:
            self._take_fields(value)

    def _take_fields(self, fields: Any) -> None:
        try:
            if has_bytes(fields):
                fields = fields_from_wire(fields)
            if self._mount is not None:
                fields = self._mount.rewritten(fields, self.head)
            if self._status >= _OK:
                self._begin(self._status, fields)
            elif self._status == _SWITCHING_PROTOCOLS:
                if not self.head.upgrade:
                    raise BadAnswer
                self._switch(encode_interim(_SWITCHING_PROTOCOLS, fields))
            else:
                self._stage = STATUS
                if self.head.minor == 1:
                    self._user.port.write(encode_interim(self._status, fields))
        except (BadAnswer, ValueError, TypeError, AttributeError):
            self._break_off("the agent's answer is not valid")

    def _end(self, trailers: Fields) -> None:
        super()._end(self._trailers)

    def _switch(self, head: bytes) -> None:
        stream, call = self._stream, self._call
        assert stream is not None
        assert call is not None
        self._stage = ENDED
        self._user.port.write(head)
        call.result.add_done_callback(self._tunnel_result)
        tunnel = TcpSplice(stream, self._tunnel_ended, close_ends=False)
        self._user.switched(tunnel)

    def _tunnel_result(self, result: asyncio.Future[Any]) -> None:
        """Reset the client if the job's end was reset: it must not look like an end."""
        if result.exception() is not None:
            self._user.port.abort()

    def _tunnel_ended(self, error: Exception | None) -> None:
        if error is not None:
            self._cancel(str(error))
        self._release()
        self._user.tunnel_ended()
