"""The async face of a stream, on top of the push face, for methods and callers that are coroutines."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, Final

from pagent.errors import CallCancelledError, CallTimeoutError
from pagent.rpc.calls import OutgoingCall
from pagent.rpc.stream import Stream
from pagent.runtime.silence import SilenceLimit


class _Waiters:
    """Tasks that wait for the same thing."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] = []

    def new(self) -> asyncio.Future[None]:
        """Return a future for one task to await."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures = [one for one in self._futures if not one.done()]  # of tasks that were cancelled
        self._futures.append(future)
        return future

    def wake(self) -> None:
        """Wake all of them."""
        futures, self._futures = self._futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)


class AsyncStream:
    """Receive with ``async for`` or :meth:`receive`, send with :meth:`send`.

    Only one message is taken from the push face ahead of the reader, so back pressure reaches the peer.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream: Final = stream
        self._unread: deque[Any] = deque()
        self._closed = False
        self._discards = False  # only the result is wanted
        self._readers = _Waiters()
        self._writers = _Waiters()
        self._loss: str | None = None  # why the call is gone
        stream.attach(self)

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Any:
        value = await self.receive()
        if value is None:
            raise StopAsyncIteration
        return value

    async def receive(self) -> Any:
        """Return the next message; None once the peer sends no more.

        CallError or LinkClosedError if the call broke off.
        """
        while not self._unread:
            if self._loss is not None:
                raise self._loss_error()
            if self._closed:
                return None
            await self._readers.new()
        value = self._unread.popleft()
        if not self._unread and self._loss is None:
            self.stream.release()
        return value

    async def send(self, value: Any) -> None:
        """Send a message and wait until the link and the peer have room for more."""
        if self._loss is not None:
            raise self._loss_error()
        self.stream.send(value)
        while self.stream.blocked and self._loss is None:
            await self._writers.new()

    def close(self) -> None:
        """Send the stream close, and nothing more."""
        self.stream.close()

    def _loss_error(self) -> Exception:
        """Return why nothing can be received or sent any more."""
        return CallCancelledError(self._loss)

    # The push face.

    def stream_message(self, value: Any) -> None:
        if self._discards:
            return
        self._unread.append(value)
        self.stream.hold()
        self._readers.wake()

    def stream_closed(self) -> None:
        self._closed = True
        self._readers.wake()

    def stream_blocked(self) -> None:
        pass

    def stream_writable(self) -> None:
        self._writers.wake()

    def stream_lost(self, reason: str) -> None:
        self._loss = reason
        self._readers.wake()
        self._writers.wake()


class StreamCall(AsyncStream):
    """A stream call of ours. Leaving its ``async with`` block cancels the call if it has not ended."""

    def __init__(self, call: OutgoingCall) -> None:
        assert call.stream is not None
        self._call = call
        super().__init__(call.stream)
        call.result.add_done_callback(lambda _: self._writers.wake())

    async def __aenter__(self) -> StreamCall:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    async def send(self, value: Any) -> None:
        """Send as :meth:`AsyncStream.send` does. Raise the error of a failed call; do nothing after a success."""
        await super().send(value)
        if self._call.result.done():
            self._call.result.result()

    @property
    def is_over(self) -> bool:
        """Whether the result is there: messages sent now are dropped."""
        return self._call.result.done()

    def cancel(self) -> None:
        """Stop the callee; nothing if the call has ended."""
        self._call.cancel(CallCancelledError(f"{self._call.method} was given up"))

    def _loss_error(self) -> Exception:
        error = self._call.result.exception() if self._call.result.done() else None
        return error if isinstance(error, Exception) else super()._loss_error()

    async def result(self, timeout: float | None = None) -> Any:
        """Return the call's result, and drop unread messages. CallError if it failed, CallTimeoutError if late."""
        self._discards = True
        self._unread.clear()
        self.stream.release()
        try:
            async with SilenceLimit(timeout):
                await asyncio.wait((self._call.result,))
        except TimeoutError:
            error = CallTimeoutError(f"no result of {self._call.method} within {timeout} s")
            self._call.cancel(error)
            raise error from None
        return await self._call.result
