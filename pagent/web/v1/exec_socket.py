"""The server's side of a WebSocket whose handshake aiohttp's connection has answered (RFC 6455).

Frames are read strictly, by the decoder that links have. The client is not read while its messages wait, and the caller
of :meth:`ExecSocket.send` waits while the client does not read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, NamedTuple, cast

from aiohttp import web

from pagent.buffers import Bytes
from pagent.errors import ProtocolError
from pagent.limits import KIB
from pagent.router_limits import EXEC_MESSAGE_MAX
from pagent.web.handover import HandedOver
from pagent.wire import frames

#: Bytes of messages that wait for the process before the client is not read any more, and what a message costs beside
#: its bytes.
_WAITING_MAX: Final = 64 * KIB
_MESSAGE_COST: Final = 64
#: A client that has sent nothing for the time of three pings is gone.
_PING_S: Final = 20.0
_PINGS: Final = 3
#: How long the client may take to read the rest and to answer a close.
_CLOSE_S: Final = 30.0
#: The code of a connection that ended without a close.
GONE: Final = 1006


class Closing(NamedTuple):
    """How a WebSocket ends."""

    code: int
    reason: str = ""


class ExecSocket:
    """Messages in, messages out. aiohttp gives it all bytes of the client: it stands in the place of a parser."""

    def __init__(self, http: HandedOver, response: web.StreamResponse) -> None:
        # For life.
        self._http = http
        self._response = response
        self._decoder = frames.FrameDecoder(masked=True, max_message=EXEC_MESSAGE_MAX)
        # While it is open.
        self._waiting: deque[tuple[int, Any]] = deque()
        self._waiting_bytes = 0
        self._fault: ProtocolError | None = None
        self._arrived = asyncio.Event()
        self._paused = False
        self._silent_pings = 0
        # The close.
        self._is_closed_here = False
        self._is_closed_there = False
        http.set_parser(cast(Any, self))
        http.end_with_client()

    # --- from the client --------------------------------------------------------------------------

    def feed_data(self, data: Bytes) -> tuple[bool, bytes]:
        """Take bytes of the client; for aiohttp."""
        self._silent_pings = 0
        if self._fault is not None:
            return False, b""
        try:
            for opcode, payload in self._decoder.feed(data):
                self._take(opcode, payload)
            self._decoder.check()
        except ProtocolError as error:
            self._fault = error
            self._arrived.set()
        self._pause_or_resume()
        return False, b""

    def feed_eof(self) -> None:
        """Do nothing: the handler of the request is cancelled when its connection ends; for aiohttp."""

    def _take(self, opcode: int, payload: Any) -> None:
        if opcode == frames.PING:
            if not self._http.writing_paused:  # a client that does not read needs no answers
                self._write(frames.PONG, payload)
        elif opcode != frames.PONG:
            self._waiting.append((opcode, payload))
            self._waiting_bytes += len(payload) + _MESSAGE_COST
            self._arrived.set()

    async def receive(self) -> tuple[int, Any]:
        """Return the next message: text, binary, or close with its code and reason. ProtocolError."""
        while not self._waiting:
            if self._decoder.more and self._fault is None:
                self.feed_data(b"")
            elif self._fault is not None:
                raise self._fault
            else:
                self._arrived.clear()
                await self._arrived.wait()
        opcode, payload = self._waiting.popleft()
        self._waiting_bytes -= len(payload) + _MESSAGE_COST
        self._is_closed_there = self._is_closed_there or opcode == frames.CLOSE
        self._pause_or_resume()
        return opcode, payload

    def _pause_or_resume(self) -> None:
        pauses = self._waiting_bytes > _WAITING_MAX or (self._decoder.more and bool(self._waiting))
        if pauses is self._paused:
            return
        self._paused = pauses
        if pauses:
            self._http.pause_reading()
        else:
            self._http.resume_reading()

    # --- to the client ----------------------------------------------------------------------------

    async def send(self, opcode: int, payload: Bytes) -> None:
        """Send a message, and wait while the client does not read."""
        if not self._is_closed_here:
            await self._response.write(b"".join((frames.frame_header(opcode, len(payload)), payload)))

    def send_close(self, closing: Closing) -> None:
        """Send a close frame, and nothing after it."""
        if not self._is_closed_here:
            self._write(frames.CLOSE, frames.close_payload(*closing))
            self._is_closed_here = True

    def _write(self, opcode: int, payload: Bytes) -> None:
        transport = self._http.transport
        if transport is not None and not self._is_closed_here:
            transport.write(b"".join((frames.frame_header(opcode, len(payload)), payload)))

    async def close(self, closing: Closing) -> None:
        """Close, and wait a while for the client's close. Other messages are discarded."""
        if closing.code == GONE:
            if self._http.transport is not None:
                self._http.transport.abort()
            return
        self.send_close(closing)
        try:
            async with asyncio.timeout(_CLOSE_S):
                while not self._is_closed_there:
                    await self.receive()
        except (ProtocolError, TimeoutError):
            return

    async def until_silent(self) -> Closing:
        """Ping the client, and return when it does not answer. A client that is not read cannot answer."""
        while self._silent_pings < _PINGS:
            await asyncio.sleep(_PING_S)
            if not self._http.writing_paused:
                self._silent_pings += not self._paused
                self._write(frames.PING, b"")
        return Closing(GONE)
