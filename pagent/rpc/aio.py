"""The async face of a stream, on top of the push face: for methods and callers that are coroutines."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pagent.errors import CallCancelledError, CallTimeoutError
from pagent.rpc.stream import Stream

if TYPE_CHECKING:
    from pagent.rpc.calls import OutgoingCall


class _Waiters:
    """Tasks that wait for the same thing."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] = []

    def new(self) -> asyncio.Future[None]:
        """To be awaited by one task."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures = [one for one in self._futures if not one.done()]  # of tasks that were cancelled
        self._futures.append(future)
        return future

    def wake(self) -> None:
        futures, self._futures = self._futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)


class AsyncStream:
    """Receive with ``async for`` or :meth:`receive`, send with :meth:`send`.

    Only one message is taken from the push face ahead of the reader, so back pressure reaches the peer.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._inbox: deque[Any] = deque()
        self._closed = False
        self._dropping = False  # what is still to come is not wanted
        self._readers = _Waiters()
        self._writers = _Waiters()
        self._lost: str | None = None
        stream.attach(self)

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Any:
        value = await self.receive()
        if value is None:
            raise StopAsyncIteration
        return value

    async def receive(self) -> Any:
        """The next message; None once the peer sends no more. CallError or LinkClosedError if the call broke off."""
        while not self._inbox:
            if self._lost is not None:
                raise self._loss()
            if self._closed:
                return None
            await self._readers.new()
        value = self._inbox.popleft()
        if not self._inbox and self._lost is None:
            self._stream.release()
        return value

    async def send(self, value: Any) -> None:
        """Send a message and wait until the link and the peer have room for more."""
        if self._lost is not None:
            raise self._loss()
        self._stream.send(value)
        while self._stream.blocked and self._lost is None:
            await self._writers.new()

    def close(self) -> None:
        """Send no more: the stream close."""
        self._stream.close()

    def _loss(self) -> Exception:
        """Why nothing can be received or sent any more."""
        return CallCancelledError(self._lost)

    # The push face.

    def stream_message(self, value: Any) -> None:
        if self._dropping:
            return
        self._inbox.append(value)
        self._stream.hold()
        self._readers.wake()

    def stream_closed(self) -> None:
        self._closed = True
        self._readers.wake()

    def stream_blocked(self) -> None:
        pass

    def stream_writable(self) -> None:
        self._writers.wake()

    def stream_lost(self, reason: str) -> None:
        self._lost = reason
        self._readers.wake()
        self._writers.wake()


class StreamCall(AsyncStream):
    """A stream call of ours: ``async with`` gives it up if it has not ended by the end of the block."""

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
        """As :meth:`AsyncStream.send`; the error of a call that has failed meanwhile. Nothing if it ended well."""
        await super().send(value)
        if self._call.result.done():
            self._call.result.result()

    @property
    def is_over(self) -> bool:
        """Whether the result is there: what is sent now goes nowhere."""
        return self._call.result.done()

    def cancel(self) -> None:
        """Tell the callee to stop; nothing if the call has ended."""
        self._call.cancel(CallCancelledError(f"{self._call.method} was given up"))

    def _loss(self) -> Exception:
        error = self._call.result.exception() if self._call.result.done() else None
        return error if isinstance(error, Exception) else super()._loss()

    async def result(self, timeout: float | None = None) -> Any:
        """The call's result; messages not read yet are dropped. CallError if it failed, CallTimeoutError if late."""
        self._dropping = True
        self._inbox.clear()
        self._stream.release()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.wait((self._call.result,))
        except TimeoutError:
            error = CallTimeoutError(f"no result of {self._call.method} within {timeout} s")
            self._call.cancel(error)
            raise error from None
        return await self._call.result
