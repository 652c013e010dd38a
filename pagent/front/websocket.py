"""A WebSocket of a browser to a job of an agent of the field (docs/contract.rst, "Proxy": ``ws_connect``).

Such an agent opens the job's WebSocket itself and sends its messages one by one, so towards the browser the router is
the WebSocket's server: frames are decoded, pings are answered, and the close of either side becomes the other's. Agents
of ours get the upgrade as it is (:mod:`pagent.front.raw`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Any, Final

from pagent.errors import CallCancelledError, ProtocolError, RequestRefusedError
from pagent.front.answers import encode_head
from pagent.front.exchange import ENDED
from pagent.front.exchange_user import ExchangeUser
from pagent.front.field import FieldExchange, check_port, decoded_target, field_headers
from pagent.front.routes import JobTarget
from pagent.http1.incoming import IncomingHead
from pagent.http1.lines import lines_of
from pagent.limits import CLOSE_TIMEOUT_S, KIB, MESSAGE_MAX_FOREIGN
from pagent.net.port.connection import PortConnection
from pagent.rpc.calls import OutgoingCall
from pagent.rpc.directory import AgentLink
from pagent.rpc.spool import SpoolOpener
from pagent.rpc.stream import Stream
from pagent.runtime.deferred import FRAMES_WORK
from pagent.wire import frames, messages
from pagent.wire.closing import GOING_AWAY

_BAD_REQUEST: Final = 400
_SWITCHING_PROTOCOLS: Final = 101
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16
#: Seconds that the close of a router that ends waits for the browser's answer.
_AWAY_S: Final = 1.0


def accept_value(head: IncomingHead) -> str:
    """Return Sec-WebSocket-Accept for a handshake; RequestRefusedError if it is not valid (RFC 6455 4.2.1)."""
    key = head.value("sec-websocket-key")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except binascii.Error:
        is_key = False
    if head.method != "GET" or head.value("sec-websocket-version") != "13" or not is_key:
        raise RequestRefusedError(_BAD_REQUEST, "not a valid WebSocket handshake")
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


class WebSocketExchange(FieldExchange):
    """``ws_connect``: the first message says whether the job has accepted."""

    __slots__ = ("_accept",)

    def __init__(self, user: ExchangeUser, head: IncomingHead, spool: SpoolOpener) -> None:
        super().__init__(user, head, spool)
        self._accept = accept_value(head)

    def start(self, link: AgentLink, target: JobTarget) -> None:
        super(FieldExchange, self).start(link, target)
        assert self._stream is not None
        self._stream.spool_with(self._spool)

    def _make_call(self, link: AgentLink, target: JobTarget) -> OutgoingCall:
        check_port(target)
        path, query = decoded_target(target.target)
        arguments = (target.job.job_uid, path, query, field_headers(self.head))
        return link.connection.start_call(messages.BISTREAM, "ws_connect", arguments, {})

    def stream_message(self, value: Any) -> None:
        if self._stage is ENDED or value is not True:
            return  # refused: the result says why
        stream, call = self._stream, self._call
        assert stream is not None
        assert call is not None
        self._stage = ENDED
        fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", self._accept)]
        self._status = _SWITCHING_PROTOCOLS
        self._user.port.write(encode_head(_SWITCHING_PROTOCOLS, lines_of(fields)))
        self._release()
        self._user.switched(BrowserSocket(stream, call, self._user.tunnel_ended))


class BrowserSocket:
    """User of the client's connection and receiver of the call's stream, once the handshake is done.

    ``done`` is called once, when the connection is closed.
    """

    __slots__ = ("_call", "_closing", "_decoder", "_done", "_port", "_stream", "_timer")

    def __init__(self, stream: Stream, call: OutgoingCall, done: Callable[[], None]) -> None:
        self._stream = stream
        self._call = call
        self._done: Callable[[], None] | None = done
        self._port: PortConnection | None = None
        self._decoder = frames.FrameDecoder(masked=True, max_message=MESSAGE_MAX_FOREIGN - KIB)
        self._closing = False  # our close frame is out
        self._timer: asyncio.TimerHandle | None = None

    def start(self, port: PortConnection) -> None:
        """Begin, with a connection whose user this already is."""
        self._port = port
        if not port.closed:
            self._stream.attach(self)

    # --- from the browser -------------------------------------------------------------------------

    def port_data(self, data: bytes) -> None:
        close: tuple[int, str] | None = None
        try:
            for opcode, payload in self._decoder.feed(data):
                if opcode in (frames.TEXT, frames.BINARY):
                    if not self._closing:
                        self._stream.send(payload)
                elif opcode == frames.PING:
                    self._send(frames.PONG, payload)
                elif opcode == frames.CLOSE:
                    close = payload
                    break
            else:
                self._decoder.check()
        except ProtocolError as error:
            self._send_close(error.code, str(error))
            self._end("the browser broke the WebSocket protocol")
            return
        if close is not None:
            self._send_close(close[0])
            self._end("the browser closed the WebSocket")
        elif self._decoder.more and self._port is not None:
            self._port.defer(self._read_more, FRAMES_WORK)

    def _read_more(self) -> None:
        if self._port is not None:
            self.port_data(b"")

    def port_eof(self) -> None:
        self._end("the browser ended the connection")

    def port_blocked(self) -> None:
        self._stream.hold()

    def port_writable(self) -> None:
        self._stream.release()

    def port_lost(self, error: Exception | None) -> None:
        self._end("the browser is gone")

    # --- from the stream --------------------------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        if isinstance(value, str):
            self._send(frames.TEXT, value.encode("utf-8", "replace"))
        elif isinstance(value, (bytes, bytearray, memoryview)):
            self._send(frames.BINARY, value)
        else:
            raise ValueError(f"a WebSocket message is text or bytes, not {type(value).__name__}")

    def stream_closed(self) -> None:
        self._close_browser(1011 if self._call.is_done and self._call.error is not None else 1000)

    def stream_blocked(self) -> None:
        if self._port is not None:
            self._port.pause_reading()

    def stream_writable(self) -> None:
        if self._port is not None:
            self._port.resume_reading()

    def stream_lost(self, reason: str) -> None:
        self._close_browser(1011)

    # --- ends -------------------------------------------------------------------------------------

    def go_away(self) -> None:
        """Close because the router ends (RFC 6455 section 7.4.1). A close that is under way is not waited for."""
        if self._closing:
            self._end("the router ends")
        else:
            self._close_browser(GOING_AWAY, _AWAY_S)

    def _close_browser(self, code: int, most_s: float = CLOSE_TIMEOUT_S) -> None:
        """Send a close, and wait for the browser's answer (RFC 6455 section 7.1.1), for ``most_s`` at most."""
        if self._port is not None and not self._closing:
            self._send_close(code)
            self._timer = asyncio.get_running_loop().call_later(most_s, self._end, "the close has no answer")

    def _send(self, opcode: int, payload: Any) -> None:
        if self._port is not None and not self._closing:
            self._port.writelines([frames.frame_header(opcode, len(payload)), payload])

    def _send_close(self, code: int, reason: str = "") -> None:
        self._send(frames.CLOSE, frames.close_payload(code, reason))
        self._closing = True

    def _end(self, reason: str) -> None:
        """End the call after the browser's side has ended."""
        done, self._done = self._done, None
        if done is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        port, self._port = self._port, None
        if port is not None:
            port.close()
        if self._closing:
            self._stream.release()  # messages that were kept for the browser are dropped
            self._stream.close()  # the agent closes the job's WebSocket, and then ends the call
        else:
            self._call.cancel(CallCancelledError(reason))
        done()
