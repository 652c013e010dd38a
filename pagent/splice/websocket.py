"""A caller's WebSocket, spliced to one of the job (docs/contract.rst, "ws_connect").

The stream carries a str for each text message and a bin for each binary one. Towards the job the splice is a WebSocket
client: it answers pings, joins fragments, and passes a close of either side to the other. It offers no extension: the
stream carries whole messages, so the splice would have to undo permessage-deflate at once.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pagent.buffers import BYTES_TYPES
from pagent.errors import ProtocolError
from pagent.jobs.activity import JobActivity
from pagent.limits import CLOSE_TIMEOUT_S, PINGS_KEPT, WEBSOCKET_FREE
from pagent.net.port.connection import PortConnection
from pagent.runtime.deferred import FRAMES_WORK
from pagent.runtime.memory import current_memory
from pagent.splice.ends import Call, StreamEnd
from pagent.splice.pool import Pool
from pagent.splice.websocket_handshake import Refusal
from pagent.wire import frames
from pagent.wire.closing import MESSAGE_TOO_BIG, check_close
from pagent.wire.upgrade import ClientUpgrade, UpgradeRefused


class WebSocketState(enum.Enum):
    UPGRADING = enum.auto()
    REFUSED = enum.auto()  # the job has refused, and the rest of its answer is arriving
    OPEN = enum.auto()
    CLOSING = enum.auto()  # the caller's close was sent to the job
    ENDED = enum.auto()


#: The states that may follow each.
TRANSITIONS: Final[Mapping[WebSocketState, frozenset[WebSocketState]]] = MappingProxyType(
    {
        WebSocketState.UPGRADING: frozenset({WebSocketState.REFUSED, WebSocketState.OPEN, WebSocketState.ENDED}),
        WebSocketState.REFUSED: frozenset({WebSocketState.ENDED}),
        WebSocketState.OPEN: frozenset({WebSocketState.CLOSING, WebSocketState.ENDED}),
        WebSocketState.CLOSING: frozenset({WebSocketState.ENDED}),
        WebSocketState.ENDED: frozenset(),
    }
)

# Access to a member of an Enum costs three times as much as to a constant, and every message needs these.
_UPGRADING: Final = WebSocketState.UPGRADING
_REFUSED: Final = WebSocketState.REFUSED
_OPEN: Final = WebSocketState.OPEN
_CLOSING: Final = WebSocketState.CLOSING
_ENDED: Final = WebSocketState.ENDED


class WebSocketSplice:
    """Receives the call's stream, and uses the job's connection.

    :param detailed: the caller asked for the subprotocol and the close code (``subprotocols=`` was given).
    :param activity: the clocks of the job.
    :param max_message: bytes of a job's message above which its WebSocket is closed with 1009.
    """

    __slots__ = (
        "_activity",
        "_answered",
        "_call",
        "_decoder",
        "_detailed",
        "_memory",
        "_opening",
        "_pings",
        "_port",
        "_state",
        "_stream",
        "_timer",
        "_unfinished",
    )

    def __init__(
        self,
        call: Call,
        stream: StreamEnd,
        upgrade: ClientUpgrade,
        *,
        detailed: bool,
        max_message: int,
        activity: JobActivity | None = None,
    ) -> None:
        # For life.
        self._activity = activity
        self._call = call
        self._stream = stream
        self._detailed = detailed
        self._memory = current_memory()
        self._state = _UPGRADING
        # Until the job has answered; the refusal takes the place of the upgrade, with a timer.
        self._answered: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self._opening: ClientUpgrade | Refusal | None = upgrade
        self._timer: asyncio.TimerHandle | None = None
        # Of the WebSocket.
        self._port: PortConnection | None = None
        self._decoder = frames.FrameDecoder(masked=False, max_message=max_message)
        self._unfinished = 0  # counted bytes of a message
        self._pings: list[Any] | None = None  # to be answered once the job reads again

    @property
    def state(self) -> WebSocketState:
        return self._state

    def _enter(self, state: WebSocketState) -> None:
        """Change the state; RuntimeError for one that may not follow."""
        if state not in TRANSITIONS[self._state]:
            raise RuntimeError(f"WebSocket splice: {state.name} cannot follow {self._state.name}")
        self._state = state

    async def connect(self, pool: Pool) -> None:
        """Connect, send the upgrade and wait for the answer; messages are handled in callbacks afterwards.

        The stream has no receiver until then, so the caller's cancel ends this coroutine.
        """
        assert isinstance(self._opening, ClientUpgrade)
        assert self._answered is not None
        answered, request = self._answered, self._opening.request()
        try:
            connection = await pool.connect(self)
        except OSError as error:
            self._refuse(error)
            return
        if self._state is _ENDED:  # the job has closed the connection before the agent knew of it
            pool.answered(self)
            connection.abort()
            return
        self._port = connection
        try:
            connection.write(request)
            await answered
        except asyncio.CancelledError:
            self._drop()
            raise
        finally:
            pool.answered(self)

    # --- from the connection ----------------------------------------------------------------------

    def port_data(self, data: bytes) -> None:
        if self._state is _UPGRADING:
            self._upgrading(data)
        elif self._state is _REFUSED:
            self._refusal_data(data)
        else:
            self._messages(data)

    def port_eof(self) -> None:
        self._end_without_close(ConnectionResetError("the job ended the connection"))

    def port_blocked(self) -> None:
        self._stream.hold()

    def port_writable(self) -> None:
        pings, self._pings = self._pings, None
        if pings is not None:
            self._pong(pings)
        if self._state is not _UPGRADING:
            self._stream.release()

    def port_lost(self, error: Exception | None) -> None:
        self._end_without_close(error or ConnectionResetError("the connection was lost"))

    # --- from the stream --------------------------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        if self._state is not _OPEN or self._port is None:
            return
        if isinstance(value, str):
            self._port.write(frames.masked_frame(frames.TEXT, value.encode("utf-8", "replace")))
        elif isinstance(value, BYTES_TYPES):
            self._port.write(frames.masked_frame(frames.BINARY, value))
        elif isinstance(value, dict) and value.keys() == {"close"}:
            self._start_close(*_close_of(value["close"]))
            return
        else:
            raise ValueError(f"a WebSocket message is text or bytes, not {type(value).__name__}")
        if self._activity is not None:
            self._activity.input_arrived()

    def stream_closed(self) -> None:
        if self._state is _OPEN:
            self._start_close(1000)

    def stream_blocked(self) -> None:
        if self._port is not None:
            self._port.pause_reading()

    def stream_writable(self) -> None:
        if self._port is not None:
            self._port.resume_reading()

    def stream_lost(self, reason: str) -> None:
        if self._port is not None and self._state is _OPEN:
            self._send_close(1001)
            if self._port.blocked:
                self._port.abort()  # the job does not read, so the close frame would never be sent
        self._drop()

    # --- the opening handshake ----------------------------------------------------------------------

    def _upgrading(self, data: bytes) -> None:
        upgrade = self._opening
        assert isinstance(upgrade, ClientUpgrade)
        try:
            rest = upgrade.feed(data)
        except UpgradeRefused as refused:
            self._enter(_REFUSED)
            self._opening = Refusal(refused.status)
            self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._end_refusal)
            self._refusal_data(refused.answer)
            return
        except ProtocolError as error:
            self._refuse(error)
            return
        if rest is not None:
            self._open(upgrade.subprotocol, rest)

    def _open(self, subprotocol: str | None, rest: bytes) -> None:
        """Begin to pass messages on; ``rest`` are the first bytes of the job's frames."""
        self._enter(_OPEN)
        self._opening = None
        self._settle_answer()
        self._stream.send({"subprotocol": subprotocol} if self._detailed else True)
        self._stream.attach(self)
        if rest and self._state is not _ENDED:
            self._messages(rest)

    def _refusal_data(self, data: bytes) -> None:
        assert isinstance(self._opening, Refusal)
        if self._opening.feed(data):
            self._end_refusal()

    def _end_refusal(self) -> None:
        """End with the text that has arrived."""
        assert isinstance(self._opening, Refusal)
        self._refuse(self._opening.error())

    def _refuse(self, error: Exception) -> None:
        if self._state is not _ENDED:
            self._drop()
            self._stream.send(False)
            self._call.fail(error)

    # --- messages ---------------------------------------------------------------------------------

    def _messages(self, data: bytes) -> None:
        pings: list[Any] = []
        close: Any = None
        try:
            for opcode, payload in self._decoder.feed(data):
                if opcode in (frames.TEXT, frames.BINARY):
                    if self._state is _OPEN:
                        self._stream.send(payload)
                elif opcode == frames.PING:
                    pings.append(payload)
                elif opcode == frames.CLOSE:
                    close = payload
                    break
            else:
                self._decoder.check()
            self._check_memory()
        except ProtocolError as error:
            if self._state is _OPEN:
                self._send_close(error.code, str(error))
            self._finish(error.code, str(error))
            return
        if pings:
            self._pong(pings)
        if close is not None:
            self._closed_by_job(*close)
        elif self._decoder.more and self._port is not None and self._state is not _ENDED:
            self._port.defer(self._more_messages, FRAMES_WORK)

    def _check_memory(self) -> None:
        """Count the bytes of an incomplete message; ProtocolError if there is no memory for it."""
        self._unfinished = self._memory.recount(self._unfinished, self._decoder.held)
        if self._unfinished > WEBSOCKET_FREE and self._memory.is_full:
            raise ProtocolError("no memory is left for a message of this size (proxy.memory_max)", MESSAGE_TOO_BIG)

    def _more_messages(self) -> None:
        if self._state is not _ENDED:
            self._messages(b"")

    def _pong(self, pings: list[Any]) -> None:
        if self._port is None or self._state is not _OPEN:
            return
        if self._port.blocked:  # the job pings and does not read: the latest pings are enough (RFC 6455 section 5.5.3)
            self._pings = [*(self._pings or ()), *pings][-PINGS_KEPT:]
        else:
            self._port.write(b"".join([frames.masked_frame(frames.PONG, payload) for payload in pings]))

    def _closed_by_job(self, code: int, reason: str) -> None:
        if self._state is _OPEN:
            self._send_close(code)
        self._finish(code, reason)

    def _start_close(self, code: int, reason: str = "") -> None:
        self._send_close(code, reason)
        self._enter(_CLOSING)
        self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._finish)

    def _send_close(self, code: int, reason: str = "") -> None:
        assert self._port is not None
        self._port.write(frames.masked_frame(frames.CLOSE, frames.close_payload(code, reason)))

    def _end_without_close(self, error: Exception) -> None:
        """End because the job's connection has ended."""
        if self._state is _UPGRADING:
            self._refuse(error)
        elif self._state is _REFUSED:
            self._end_refusal()
        else:
            self._finish()

    def _finish(self, code: int = 1006, reason: str = "") -> None:
        if self._state is not _ENDED:
            self._drop()
            self._call.finish({"code": code, "reason": reason} if self._detailed else None)

    def _settle_answer(self) -> None:
        answered, self._answered = self._answered, None
        if answered is not None and not answered.done():
            answered.set_result(None)

    def _drop(self) -> None:
        if self._state is not _ENDED:
            self._enter(_ENDED)
        self._unfinished = self._memory.recount(self._unfinished, 0)
        # It may hold most of a message, and the garbage collector may find this splice late.
        self._decoder = frames.FrameDecoder(masked=False, max_message=0)
        self._settle_answer()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._port is not None:
            self._port.close()


def _close_of(value: Any) -> tuple[int, str]:
    """Return the code and the reason of a caller's close; ValueError if a close frame cannot carry them."""
    if type(value) not in (list, tuple) or len(value) != 2 or type(value[0]) is not int or type(value[1]) is not str:
        raise ValueError("a close is [code, reason]")
    check_close(value[0], value[1])
    return value[0], value[1]
