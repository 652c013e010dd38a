"""WebSockets and TCP connections to a job."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pagent.buffers import Bytes
from pagent.client.pieces import pieces_of
from pagent.errors import CallCancelledError, ServerError
from pagent.limits import WEBSOCKET_MESSAGE_MAX
from pagent.rpc.aio import StreamCall
from pagent.wire.closing import check_close


class WebSocket:
    """A WebSocket to a job: iterate over its messages, a str per text and a bytes per binary one, until it closes.

    ``subprotocol`` is the one that the job chose, None for none.
    """

    def __init__(self, call: StreamCall, subprotocol: str | None) -> None:
        self._call_ = call
        self.subprotocol = subprotocol

    @classmethod
    async def of(cls, call: StreamCall) -> WebSocket:
        """Wait for the job's answer to the upgrade."""
        opened = await call.receive()
        if not isinstance(opened, dict):
            await call.result()
            raise ServerError("an unexpected answer to ws_connect")
        return cls(call, opened["subprotocol"])

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        message = await self._next()
        if message is None:
            raise StopAsyncIteration
        return message

    async def _next(self) -> str | bytes | None:
        message = await self._call_.receive()
        if message is None:
            await self._call_.result()  # raises if it is an error
            return None
        return message if isinstance(message, str) else bytes(message)

    async def send(self, message: str | Bytes) -> None:
        """A text or a binary message; waits while the job does not take it.

        CallCancelledError once it has closed; ValueError: more than WEBSOCKET_MESSAGE_MAX bytes.
        """
        if len(message) > WEBSOCKET_MESSAGE_MAX // 4:  # characters of a text have up to 4 bytes
            size = len(message.encode()) if isinstance(message, str) else memoryview(message).nbytes
            if size > WEBSOCKET_MESSAGE_MAX:
                raise ValueError(f"a WebSocket message of {size} bytes; {WEBSOCKET_MESSAGE_MAX} at most")
        await self._call_.send(message)
        if self._call_.is_over:
            raise CallCancelledError("the WebSocket is closed")

    async def receive(self) -> str | bytes:
        """The next message; CallCancelledError once the job has closed."""
        message = await self._next()
        if message is None:
            raise CallCancelledError("the WebSocket is closed")
        return message

    async def close(self, code: int = 1000, reason: str = "") -> tuple[int, str]:
        """Close with a code and a reason; return those of the job's close. Messages not read are dropped.

        ValueError: a code that may not be sent, or a reason of more than 123 bytes.
        """
        check_close(code, reason)
        if (code, reason) != (1000, ""):
            await self._call_.send({"close": [code, reason]})
        self._call_.close()
        outcome = await self._call_.result()
        return outcome["code"], outcome["reason"]


class TcpStream:
    """A TCP connection to a port of a job: iterate over what it sends, until it sends no more."""

    def __init__(self, call: StreamCall) -> None:
        self._call_ = call
        self._ended = False  # by the job
        self._sent_end = False

    @classmethod
    async def of(cls, call: StreamCall) -> TcpStream:
        """Wait until the job has accepted."""
        if await call.receive() is not True:
            await call.result()
            raise ServerError("an unexpected answer to tcp_connect")
        return cls(call)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self.receive()
        if not data:
            raise StopAsyncIteration
        return data

    async def send(self, data: Bytes) -> None:
        """Bytes to the job; waits while it does not take them. MethodError once the connection is lost."""
        for piece in pieces_of(data):
            await self._call_.send(piece)

    async def end(self) -> None:
        """Send no more: the half-close. What the job sends can still be read."""
        self._sent_end = True
        await self._call_.send(b"")

    async def finish(self) -> None:
        """Wait until the job has been given all, if both directions have ended; otherwise do nothing."""
        if self._ended and self._sent_end:
            await self._call_.result()

    async def receive(self) -> bytes:
        """What comes next; b"" once the job sends no more. MethodError if the connection was lost before that."""
        if self._ended:
            return b""
        data = await self._call_.receive()
        if data is None:
            await self._call_.result()
        self._ended = not data
        return bytes(data or b"")
