"""What processes of a job write, and what is written to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from pagent.buffers import Bytes
from pagent.client.pieces import pieces_of
from pagent.rpc.aio import StreamCall


class Logs:
    """An output of a job: iterate over it. Once the iteration has ended, how it ended stands here.

    ``offset`` is where the next one may go on, ``state`` the job's then (FINISHED: this was all of it) and
    ``exit_code`` None while it runs or if a signal ended it.
    """

    def __init__(self, open_call: Callable[[], StreamCall]) -> None:
        self._open_call = open_call
        self.offset = 0
        self.state = ""
        self.exit_code: int | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with self._open_call() as call:
            async for chunk in call:
                yield bytes(chunk)
            end = await call.result()
        self.offset, self.state, self.exit_code = end["offset"], end["state"], end["exit_code"]


class Exec:
    """A process of ``job_exec``: iterate over its output, stdout and stderr together.

    MethodError from the iteration and from :meth:`wait` if it could not be started.
    """

    def __init__(self, call: StreamCall) -> None:
        self._call_ = call

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self._call_.receive()
        if data is None:
            await self._call_.result()
            raise StopAsyncIteration
        return bytes(data)

    async def write(self, data: Bytes) -> None:
        """Input for the process; waits while it does not read."""
        for piece in pieces_of(data):
            await self._call_.send(piece)

    async def end_input(self) -> None:
        """No more input."""
        await self._call_.send(b"")

    async def resize(self, rows: int, cols: int) -> None:
        """The terminal has a new size; the agent ignores one that no terminal can have."""
        await self._call_.send({"resize": [rows, cols]})

    async def wait(self) -> int:
        """Its exit code, minus the number of the signal if one ended it; output that was not read is dropped."""
        code: int = await self._call_.result()
        return code
