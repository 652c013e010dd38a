"""A caller's WebSocket, spliced to one of the job (docs/contract.rst, "ws_connect").

The stream carries a str per text message and a bin per binary one. Towards the job this is a WebSocket client of its
own: pings are answered, fragments joined, and each side's close becomes the other's. No extension is offered:
the stream carries whole messages, so what permessage-deflate saves on loopback would be undone right here.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from typing import Any

from pagent.errors import ProtocolError, WSServerHandshakeError
from pagent.http1.heads import ResponseHead
from pagent.http1.request import RequestHead
from pagent.http1.response import BadResponse, ResponseParser
from pagent.limits import CLOSE_TIMEOUT_S, PINGS_KEPT, REFUSAL_TEXT_MAX, WEBSOCKET_FREE
from pagent.net.port.connection import PortConnection
from pagent.runtime.deferred import FRAMES_LABOUR
from pagent.runtime.memory import Held, current_memory
from pagent.splice.ends import Call, StreamEnd
from pagent.splice.pool import Pool
from pagent.wire import frames
from pagent.wire.closing import check_close
from pagent.wire.upgrade import ClientUpgrade, UpgradeRefused

#: Fields of the caller's own handshake, and the framing of a body that an upgrade does not have.
_NOT_PASSED = (
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "transfer-encoding",
)


def upgrade_for(request: RequestHead, subprotocols: Sequence[str]) -> ClientUpgrade:
    """The opening handshake towards the job with the fields of a GET that has been checked already."""
    start, *fields = request.data.decode("utf-8", "surrogateescape").split("\r\n")[:-2]
    pairs = [(name, value) for name, _, value in [field.partition(": ") for field in fields]]
    passed = [
        pair for pair in pairs[1:] if pair[0].lower() not in _NOT_PASSED and not pair[0].lower().startswith("content-")
    ]
    return ClientUpgrade(pairs[0][1], start.split(" ")[1], subprotocols=subprotocols, headers=passed)


class _State(enum.Enum):
    UPGRADING = enum.auto()
    REFUSED = enum.auto()  # the rest of the answer is coming
    OPEN = enum.auto()
    CLOSING = enum.auto()  # our close frame is out
    ENDED = enum.auto()


class WebSocketSplice:
    """Receiver of the call's stream and user of the job's connection.

    :param detailed: the caller asked for the subprotocol and the close code (``subprotocols=`` was given).
    :param max_message: bytes of a job's message above which its WebSocket is closed with 1009.
    """

    __slots__ = (
        "_answered",
        "_call",
        "_close",
        "_decoder",
        "_detailed",
        "_memory",
        "_pings",
        "_port",
        "_refusal",
        "_state",
        "_stream",
        "_timer",
        "_unfinished",
        "_upgrade",
    )

    def __init__(
        self, call: Call, stream: StreamEnd, upgrade: ClientUpgrade, *, detailed: bool, max_message: int
    ) -> None:
        self._call = call
        self._stream = stream
        self._detailed = detailed
        self._decoder = frames.FrameDecoder(masked=False, max_message=max_message)
        self._port: PortConnection | None = None
        self._state = _State.UPGRADING
        self._close = (1006, "")
        self._timer: asyncio.TimerHandle | None = None
        self._memory = current_memory()
        self._unfinished = Held(self._memory)
        self._pings: list[Any] = []  # to be answered once the job reads again
        # Until the job has answered.
        self._answered: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self._upgrade: ClientUpgrade | None = upgrade
        self._refusal: _Refusal | None = None

    async def connect(self, pool: Pool) -> None:
        """Connect, send the upgrade and wait for the answer; the rest happens as messages come.

        Nobody listens to the stream until then, so it is this that the caller's cancel ends.
        """
        assert self._upgrade is not None
        assert self._answered is not None
        answered, request = self._answered, self._upgrade.request()
        try:
            connection = await pool.connect(self)
        except OSError as error:
            self._refused(error)
            return
        if self._state is _State.ENDED:  # the job has accepted, and ended it before we heard of that
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
        if self._state is _State.UPGRADING:
            self._upgrading(data)
        elif self._state is _State.REFUSED:
            self._refusal_data(data)
        else:
            self._messages(data)

    def port_eof(self) -> None:
        self._over(ConnectionResetError("the job ended the connection"))

    def port_blocked(self) -> None:
        self._stream.hold()

    def port_writable(self) -> None:
        pings, self._pings = self._pings, []
        if pings:
            self._pong(pings)
        if self._state is not _State.UPGRADING:
            self._stream.release()

    def port_lost(self, error: Exception | None) -> None:
        self._over(error or ConnectionResetError("the connection was lost"))

    # --- from the stream --------------------------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        if self._state is not _State.OPEN or self._port is None:
            return
        if isinstance(value, str):
            self._port.write(frames.masked_frame(frames.TEXT, value.encode("utf-8", "replace")))
        elif isinstance(value, (bytes, bytearray, memoryview)):
            self._port.write(frames.masked_frame(frames.BINARY, value))
        elif isinstance(value, dict) and value.keys() == {"close"}:
            self._start_close(*_close_of(value["close"]))
        else:
            raise ValueError(f"a WebSocket message is text or bytes, not {type(value).__name__}")

    def stream_closed(self) -> None:
        if self._state is _State.OPEN:
            self._start_close(1000)

    def stream_blocked(self) -> None:
        if self._port is not None:
            self._port.pause_reading()

    def stream_writable(self) -> None:
        if self._port is not None:
            self._port.resume_reading()

    def stream_lost(self, reason: str) -> None:
        if self._port is not None and self._state is _State.OPEN:
            self._send_close(1001)
            if self._port.blocked:
                self._port.abort()  # it does not read: the close would wait for that, and the connection with it
        self._drop()

    # --- the opening handshake ----------------------------------------------------------------------

    def _upgrading(self, data: bytes) -> None:
        assert self._upgrade is not None
        try:
            rest = self._upgrade.feed(data)
        except UpgradeRefused as refused:
            self._state = _State.REFUSED
            self._refusal = _Refusal(refused.status)
            # Its text is a courtesy, not to be waited for without end.
            self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._refusal_late)
            self._refusal_data(refused.answer)
            return
        except ProtocolError as error:
            self._refused(error)
            return
        if rest is None:
            return
        self._state = _State.OPEN
        self._settle_answer()
        self._stream.send({"subprotocol": self._upgrade.subprotocol} if self._detailed else True)
        self._upgrade = None
        self._stream.attach(self)
        if rest and self._state is not _State.ENDED:
            self._messages(rest)

    def _refusal_data(self, data: bytes) -> None:
        assert self._refusal is not None
        if self._refusal.feed(data):
            self._refused(self._refusal.error())

    def _refusal_late(self) -> None:
        assert self._refusal is not None
        self._refused(self._refusal.error())

    def _refused(self, error: Exception) -> None:
        if self._state is not _State.ENDED:
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
                    if self._state is _State.OPEN:
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
            self._close = (error.code, str(error))
            if self._state is _State.OPEN:
                self._send_close(error.code, str(error))
            self._finish()
            return
        if pings:
            self._pong(pings)
        if close is not None:
            self._closed_by_job(*close)
        elif self._decoder.more and self._port is not None and self._state is not _State.ENDED:
            self._port.defer(self._more_messages, FRAMES_LABOUR)

    def _check_memory(self) -> None:
        """Count the message that is not complete; ProtocolError if there is no memory for it."""
        self._unfinished.set(self._decoder.held)
        if self._unfinished.bytes > WEBSOCKET_FREE and self._memory.is_full:
            raise ProtocolError("no memory is left for a message of this size (proxy.memory_max)", 1009)

    def _more_messages(self) -> None:
        if self._state is not _State.ENDED:
            self._messages(b"")

    def _pong(self, pings: list[Any]) -> None:
        if self._port is None or self._state is not _State.OPEN:
            return
        if self._port.blocked:  # a job that pings and does not read; the latest are enough (RFC 6455 section 5.5.3)
            self._pings = (self._pings + pings)[-PINGS_KEPT:]
        else:
            self._port.write(b"".join([frames.masked_frame(frames.PONG, payload) for payload in pings]))

    def _closed_by_job(self, code: int, reason: str) -> None:
        self._close = (code, reason)
        if self._state is _State.OPEN:
            self._send_close(code)
        self._finish()

    def _start_close(self, code: int, reason: str = "") -> None:
        self._send_close(code, reason)
        self._state = _State.CLOSING
        self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._finish)

    def _send_close(self, code: int, reason: str = "") -> None:
        assert self._port is not None
        self._port.write(frames.masked_frame(frames.CLOSE, frames.close_payload(code, reason)))

    def _over(self, error: Exception) -> None:
        """The connection has ended without a close."""
        if self._state is _State.UPGRADING:
            self._refused(error)
        elif self._state is _State.REFUSED:
            assert self._refusal is not None
            self._refused(self._refusal.error())
        else:
            self._finish()

    def _finish(self) -> None:
        if self._state is not _State.ENDED:
            self._drop()
            code, reason = self._close
            self._call.finish({"code": code, "reason": reason} if self._detailed else None)

    def _settle_answer(self) -> None:
        answered, self._answered = self._answered, None
        if answered is not None and not answered.done():
            answered.set_result(None)

    def _drop(self) -> None:
        self._state = _State.ENDED
        self._unfinished.set(0)
        self._settle_answer()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._port is not None:
            self._port.close()


def _close_of(value: Any) -> tuple[int, str]:
    """What the caller wants to close with; ValueError if that cannot stand in a close frame."""
    if type(value) not in (list, tuple) or len(value) != 2 or type(value[0]) is not int or type(value[1]) is not str:
        raise ValueError("a close is [code, reason]")
    check_close(value[0], value[1])
    return value[0], value[1]


class _Refusal:
    """Collects the start of the body of the answer that is no 101: it says why."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._text = b""
        self._complete = False
        self._parser = ResponseParser(self, head_request=False)

    def feed(self, data: bytes) -> bool:
        """True once enough is known."""
        try:
            self._parser.feed(data)
            while self._parser.more and not self._is_enough:
                self._parser.feed(b"")
        except BadResponse:
            return True
        return self._is_enough

    @property
    def _is_enough(self) -> bool:
        return self._complete or len(self._text) >= REFUSAL_TEXT_MAX

    def error(self) -> WSServerHandshakeError:
        text = self._text[:REFUSAL_TEXT_MAX].decode("utf-8", "replace").strip()
        return WSServerHandshakeError(self._status, text)

    def head(self, head: ResponseHead, /) -> None:
        if head.content_encoding is not None:
            self._complete = True  # nothing to read in it

    def body(self, data: bytes | memoryview, /) -> None:
        if not self._complete and len(self._text) < REFUSAL_TEXT_MAX:
            self._text += bytes(data)

    def trailers(self, fields: list[list[str]], /) -> None:
        """Nothing of interest."""

    def complete(self, reusable: bool, /) -> None:
        self._complete = True
