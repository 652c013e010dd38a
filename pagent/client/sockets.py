"""WebSockets and TCP connections to a job."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pagent.buffers import Bytes
from pagent.client.payloads import payloads_of
from pagent.errors import CallCancelledError, ServerError
from pagent.limits import WEBSOCKET_MESSAGE_MAX
from pagent.rpc.aio import StreamCall
from pagent.wire.closing import check_close


class WebSocket:
    """A WebSocket to a job. Iterate over its messages until it closes: a str for text, bytes for binary.

    ``subprotocol`` is the one that the job has chosen, or None.
    """

    def __init__(self, call: StreamCall, subprotocol: str | None) -> None:
        self._stream_call = call
        self.subprotocol = subprotocol

    @classmethod
    async def of(cls, call: StreamCall) -> WebSocket:
        """Wait for the job's response to the upgrade."""
        opened = await call.receive()
        if not isinstance(opened, dict):
            await call.result()
            raise ServerError("unexpected response to ws_connect")
        return cls(call, opened["subprotocol"])

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        message = await self._next()
        if message is None:
            raise StopAsyncIteration
        return message

    async def _next(self) -> str | bytes | None:
        message = await self._stream_call.receive()
        if message is None:
            await self._stream_call.result()  # raises if the call has failed
            return None
        return message if isinstance(message, str) else bytes(message)

    async def send(self, message: str | Bytes) -> None:
        """Send a text or binary message. Waits while the job does not read.

        :raises CallCancelledError: the WebSocket is closed.
        :raises ValueError: the message has more than WEBSOCKET_MESSAGE_MAX bytes.
        """
        if len(message) > WEBSOCKET_MESSAGE_MAX // 4:  # characters of a text have up to 4 bytes
            size = len(message.encode()) if isinstance(message, str) else memoryview(message).nbytes
            if size > WEBSOCKET_MESSAGE_MAX:
                raise ValueError(f"a WebSocket message has at most {WEBSOCKET_MESSAGE_MAX} bytes, not {size}")
        await self._stream_call.send(message)
        if self._stream_call.is_over:
            raise CallCancelledError("the WebSocket is closed")

    async def receive(self) -> str | bytes:
        """Return the next message. CallCancelledError: the job has closed the WebSocket."""
        message = await self._next()
        if message is None:
            raise CallCancelledError("the WebSocket is closed")
        return message

    async def close(self, code: int = 1000, reason: str = "") -> tuple[int, str]:
        """Close with a code and a reason; return those of the job's close. Unread messages are dropped.

        ValueError: the code cannot be sent, or the reason has more than 123 bytes.
        """
        check_close(code, reason)
        if (code, reason) != (1000, ""):
            await self._stream_call.send({"close": [code, reason]})
        self._stream_call.close()
        outcome = await self._stream_call.result()
        return outcome["code"], outcome["reason"]


class TcpStream:
    """A TCP connection to a port of a job. Iterate over the received bytes until the job closes its direction."""

    def __init__(self, call: StreamCall) -> None:
        self._stream_call = call
        self._ended = False  # by the job
        self._sent_end = False

    @classmethod
    async def of(cls, call: StreamCall) -> TcpStream:
        """Wait until the connection is made."""
        if await call.receive() is not True:
            await call.result()
            raise ServerError("unexpected response to tcp_connect")
        return cls(call)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self.receive()
        if not data:
            raise StopAsyncIteration
        return data

    async def send(self, data: Bytes) -> None:
        """Send bytes. Waits while the job does not read. MethodError: the connection is lost."""
        for piece in payloads_of(data):
            await self._stream_call.send(piece)

    async def end(self) -> None:
        """Close this direction (half-close). The other one stays open."""
        self._sent_end = True
        await self._stream_call.send(b"")

    async def finish(self) -> None:
        """Wait until the job has received all bytes, if both directions have ended; otherwise do nothing."""
        if self._ended and self._sent_end:
            await self._stream_call.result()

    async def receive(self) -> bytes:
        """Return the next bytes, b"" when the job has closed its direction. MethodError: the connection is lost."""
        if self._ended:
            return b""
        data = await self._stream_call.receive()
        if data is None:
            await self._stream_call.result()
        self._ended = not data
        return bytes(data or b"")
