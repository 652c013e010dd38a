"""The request of an HTTP splice on its way to the job: its body, and the connection that it takes.

Nothing here waits: a kept connection is used within the callback that received the call, and only the connecting of a
new one takes a task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

from pagent.buffers import BYTES_TYPES, Bytes
from pagent.errors import RequestRefusedError
from pagent.http1.heads import RequestHead
from pagent.net.port.connection import PortConnection
from pagent.splice.ends import Call, StreamEnd
from pagent.splice.exchange_state import EXCHANGE_TRANSITIONS, ExchangeInput, ExchangeState
from pagent.splice.pool import Pool
from pagent.splice.request_body import RequestBody
from pagent.system_errors import system_refusal

# Access to a member of an Enum costs three times as much as to a constant, and every request needs these.
_DECIDING: Final = ExchangeState.DECIDING
_KEPT: Final = ExchangeState.KEPT
_NEW: Final = ExchangeState.NEW
#: States without a connection, after the response.
COMPLETE: Final = (ExchangeState.DECODING, ExchangeState.PARTING, ExchangeState.ENDED)

_BAD_GATEWAY: Final = 502


def bad_gateway(reason: str) -> RequestRefusedError:
    """Return the answer to a request that the job does not answer, or not validly."""
    return RequestRefusedError(_BAD_GATEWAY, reason)


class RequestingSplice(ABC):
    """Receives the request's body from the call's stream, and writes it to a connection of the pool.

    :param are_trailers_passed: whether the caller may send trailers, as a list of pairs after the body.
    """

    __slots__ = ("_are_trailers_passed", "_body", "_call", "_pool", "_port", "_request", "_state", "_stream")

    def __init__(
        self, call: Call, stream: StreamEnd, pool: Pool, request: RequestHead, *, are_trailers_passed: bool
    ) -> None:
        # For life.
        self._call = call
        self._stream = stream
        self._pool = pool
        self._request = request
        self._are_trailers_passed = are_trailers_passed
        self._body = RequestBody(request)
        self._state = _DECIDING
        # From the connection to the end of the response.
        self._port: PortConnection | None = None

    @property
    def state(self) -> ExchangeState:
        return self._state

    def _advance(self, change: ExchangeInput) -> None:
        """Change the state; RuntimeError for an input that the state does not have."""
        before = self._state
        after = EXCHANGE_TRANSITIONS[before].get(change)
        if after is None:
            raise RuntimeError(f"HTTP splice: input {change.name} in state {before.name}")
        self._state = after
        if before is _NEW:
            self._pool.answered(self)

    def start(self) -> None:
        """Send the request, or wait for the body message that shows whether it has a body."""
        self._stream.attach(self, splits=True)  # first: connecting holds it
        self._hold_after_request()
        if self._body.decided and self._state is _DECIDING:
            self._connect()

    # --- from the stream: the request's body -------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        are_trailers = type(value) is list and self._are_trailers_passed
        if not are_trailers and not isinstance(value, BYTES_TYPES):
            raise ValueError(f"a request body is bytes, not {type(value).__name__}")
        if self._state in COMPLETE:
            return
        if are_trailers:
            parts = self._body.end_with(value)
        elif value:
            parts = self._body.add(value)
            if (activity := self._pool.activity) is not None:
                activity.input_arrived()
        else:
            parts = self._body.end()
        self._hold_after_request()
        if self._port is not None:
            if parts:
                self._body.remember(parts)
                self._write(self._port, parts)
            return
        self._body.keep(parts)
        if self._state is _DECIDING:
            self._connect()

    def stream_closed(self) -> None:
        if not self._body.ended:
            self.stream_message(b"")

    def stream_blocked(self) -> None:
        if self._port is not None:
            self._port.pause_reading()

    def _hold_after_request(self) -> None:
        """Hold messages of the next protocol until the job has switched to it."""
        if self._request.protocols and self._body.ended:
            self._stream.hold()

    def _release(self) -> None:
        if not (self._request.protocols and self._body.ended):
            self._stream.release()

    # --- the connection ---------------------------------------------------------------------------

    def _connect(self) -> None:
        port = None if self._request.protocols else self._pool.take(self, repeatable=self._request.idempotent)
        if port is None:
            self._connect_anew()
        else:
            self._advance(ExchangeInput.TAKE)
            self._begin(port)

    def _connect_anew(self) -> None:
        self._advance(ExchangeInput.CONNECT)
        self._stream.hold()
        self._call.run(self._wait_for_connection())

    async def _wait_for_connection(self) -> None:
        try:
            port = await self._pool.connect(self, resets=bool(self._request.protocols))
        except OSError as error:
            reason = f"the job does not accept a connection: {error}"
            self._end_with_error(system_refusal(error, place="the agent") or bad_gateway(reason))
            return
        self._advance(ExchangeInput.CONNECTED)
        if self._state is not _NEW:  # the job has spoken, or closed the connection, before the agent knew of it
            self._pool.answered(self)
        if self._state in COMPLETE:
            port.abort()
            return
        self._begin(port)
        if not port.blocked:  # it may be, by the body that was kept while connecting; port_writable() releases then
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

    def port_blocked(self) -> None:
        self._stream.hold()

    def port_writable(self) -> None:
        self._release()

    def _sent_again(self) -> bool:
        """Send the request on a new connection if the job had closed the kept one while it was idle."""
        if self._state is not _KEPT:
            return False
        self._pool.closed_unannounced()
        if not (self._request.idempotent and self._body.can_repeat):
            return False
        self._drop()
        self._body.repeat()
        self._connect_anew()
        return True

    # --- the response -------------------------------------------------------------------------------

    @abstractmethod
    def stream_writable(self) -> None:
        """Send more of the response: the caller takes it."""

    @abstractmethod
    def stream_lost(self, reason: str) -> None:
        """Drop the request: the call is gone."""

    @abstractmethod
    def port_data(self, data: bytes) -> None:
        """Handle bytes of the response."""

    @abstractmethod
    def port_eof(self) -> None:
        """Handle the end of the connection by the job."""

    @abstractmethod
    def port_lost(self, error: Exception | None) -> None:
        """Handle the loss of the connection; ``error`` is None for a clean end."""

    @abstractmethod
    def _end_with_error(self, error: RequestRefusedError, *, always: bool = False) -> None:
        """End with an error of the agent; ``always``: with the reason also for an old router."""

    @abstractmethod
    def _drop(self) -> None:
        """Drop the connection, and the parts of the response that are kept."""
