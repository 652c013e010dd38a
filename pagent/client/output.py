"""Output of a job, and processes of ``job_exec``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from pagent.buffers import Bytes
from pagent.client.payloads import payloads_of
from pagent.rpc.aio import StreamCall


class Logs:
    """An output of a job. Iterate over it; the attributes are set at the end of the iteration.

    ``offset``: where to continue. ``state``: that of the job; FINISHED if the output is complete. ``exit_code``: None
    while the job runs, or if a signal ended it. ``start`` is where the first byte is from, known when that has come;
    None for output that was not chosen by its time.
    """

    def __init__(self, open_call: Callable[[], StreamCall]) -> None:
        self._open_call = open_call
        self.start: int | None = None
        self.offset = 0
        self.state = ""
        self.exit_code: int | None = None

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        async with self._open_call() as call:
            async for chunk in call:
                if isinstance(chunk, dict):
                    self.start = chunk["offset"]
                else:
                    yield bytes(chunk)
            end = await call.result()
        self.offset, self.state, self.exit_code = end["offset"], end["state"], end["exit_code"]


class RemoteExec:
    """A process of ``job_exec``. Iterate over its output, which is standard output and standard error together.

    The iteration and :meth:`wait` raise MethodError if the process cannot be started.
    """

    def __init__(self, call: StreamCall) -> None:
        self._stream_call = call

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self._stream_call.receive()
        if data is None:
            await self._stream_call.result()
            raise StopAsyncIteration
        return bytes(data)

    async def write(self, data: Bytes) -> None:
        """Write to the process's standard input. Waits while the process does not read."""
        for piece in payloads_of(data):
            await self._stream_call.send(piece)

    async def end_input(self) -> None:
        """Close the process's standard input."""
        await self._stream_call.send(b"")

    async def resize(self, rows: int, cols: int) -> None:
        """Set the size of the terminal. The agent ignores an impossible size."""
        await self._stream_call.send({"resize": [rows, cols]})

    async def wait(self) -> int:
        """Return the exit code, or minus the number of the signal that ended the process. Unread output is dropped."""
        code: int = await self._stream_call.result()
        return code
