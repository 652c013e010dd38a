"""A way through a link with the extension ``flow``: by the package's own client, whose windows are measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bench import wire
from bench.way import Fault, Lane, idle
from pagent.client import AgentClient
from pagent.errors import CallError, LinkError
from pagent.rpc.aio import StreamCall
from pagent.wire import messages


class FlowWay:
    """Carries bodies only. ``job``: the uid of a job of this link."""

    def __init__(self, name: str, agent: AgentClient, pid: int, job: str, job_pid: int) -> None:
        self.name = name
        self.pids: tuple[int, ...] = (pid,)
        self.job_pid = job_pid
        self.fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._agent = agent
        self._job = job

    def close(self) -> None:
        self.fault.cancel()

    def fail(self, text: str) -> None:
        if not self.fault.done():
            self.fault.set_exception(Fault(text))

    def request(self, method: str, target: str, *extra: tuple[str, str]) -> StreamCall:
        headers = [*wire.FIELDS, *extra]
        return self._agent.link.open_stream(messages.BISTREAM, "http_request", self._job, method, target, [], headers)

    async def get(self, size: int, *, varied: bool = False) -> Lane:
        return _Body(self, size, upload=False)

    async def put(self, size: int, rate: float | None = None) -> Lane:
        return _Body(self, size, upload=True)


class _Body:
    """A body of ``size`` bytes, in either direction."""

    def __init__(self, way: FlowWay, size: int, *, upload: bool) -> None:
        self.done: Callable[[], None] = idle
        self._way = way
        self._size = size
        self._upload = upload
        self._task: asyncio.Task[None] | None = None

    def send(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            received = await (self._put() if self._upload else self._get())
        except (CallError, LinkError) as error:
            self._way.fail(repr(error))
            return
        if received != (12 if self._upload else self._size):
            self._way.fail(f"{received} bytes came")
        else:
            self.done()

    async def _get(self) -> int:
        async with self._way.request("GET", f"/bytes/{self._size}") as call:
            await call.send(b"")
            return await _length(call)

    async def _put(self) -> int:
        async with self._way.request("POST", "/bytes/0", ("Content-Length", str(self._size))) as call:
            left = self._size
            while left:
                piece = wire.BLOCK[: min(left, len(wire.BLOCK))]
                left -= len(piece)
                await call.send(piece)
            await call.send(b"")
            return await _length(call)


async def _length(call: StreamCall) -> int:
    """Count the bytes of the body of an answer."""
    length = 0
    async for value in call:
        if isinstance(value, (bytes, bytearray, memoryview)):
            length += len(value)
    await call.result()
    return length
