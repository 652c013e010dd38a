"""Ways through the agent: as a deployed router calls it, and by tunnels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import oneshot
from bench.calls import ArchiveGet, ArchivePut, Events, FileGet, FilePut, Put, Request, VariedGet
from bench.link import LinkDriver
from bench.process import python
from bench.sockets import Echo, Socket, TunnelEcho, TunnelEvents, TunnelGet, TunnelPut
from bench.way import Fault, Lane, idle, until
from pagent.errors import MethodError

_TRANSFER_TIMEOUT_S: Final = 120.0


class AgentWay:
    """Through a link; ``pid`` is the agent's, ``job`` the uid of the job."""

    def __init__(self, name: str, driver: LinkDriver, pid: int, job: str, job_pid: int) -> None:
        self.name = name
        self.pids: tuple[int, ...] = (pid,)
        self.job_pid = job_pid
        self.fault = driver.fault
        self._driver = driver
        self._job = job
        self._links: list[LinkDriver] = []

    def close(self) -> None:
        for driver in (self._driver, *self._links):
            driver.close()

    async def open_link(self) -> None:
        """Open one more link, which carries one call and is then idle."""
        driver = await self._driver.another()
        self._links.append(driver)
        await driver.call("job_count_current_connection")

    async def another_link(self) -> LinkDriver:
        """Open one more link, for a load of its own."""
        driver = await self._driver.another()
        self._links.append(driver)
        return driver

    async def trivial_call(self) -> None:
        """Make a call that takes the agent very little time."""
        await self._driver.call("job_count_current_connection")

    async def get(self, size: int, *, varied: bool = False) -> Lane:
        if varied:
            return VariedGet(self._driver, self._job, size)
        return Request(self._driver, self._job, "GET", f"/bytes/{size}", size)

    async def put(self, size: int, rate: float | None = None) -> Lane:
        return Put(self._driver, self._job, size, rate)

    async def echo(self, size: int) -> Lane:
        return await _opened(Echo(self._driver, self._job, size))

    async def events(self, seen: Callable[[int], None]) -> Callable[[], None]:
        lane = Events(self._driver, self._job, seen)
        lane.send()
        return lane.cancel

    async def file_put(self, size: int) -> Lane:
        return FilePut(self._driver, self._job, size)

    async def file_get(self, size: int) -> Lane:
        await self._once(FilePut(self._driver, self._job, size))
        return FileGet(self._driver, self._job, size)

    async def archive_put(self, tar: bytes) -> Lane:
        return ArchivePut(self._driver, self._job, tar)

    async def archive_get(self, tar: bytes, mask: str, least: int) -> Lane:
        """Return a lane that uploads ``tar``, then downloads what matches ``mask``: at least ``least`` bytes."""
        await self._once(ArchivePut(self._driver, self._job, tar))
        return ArchiveGet(self._driver, self._job, mask, least)

    async def _once(self, lane: Lane) -> None:
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.done = lambda: finished.set_result(None)
        lane.send()
        await until(finished, self.fault, _TRANSFER_TIMEOUT_S)
        lane.done = idle

    async def job_cycle(self) -> Lane:
        return _JobCycle(self._driver)

    async def first_byte_ns(self) -> int:
        """Return the time from ``job_start`` to the first byte of the first answer of a small server."""
        call = self._driver.call
        job = (await call("job_create", "first"))["uid"]
        began = time.perf_counter_ns()
        await call("job_start", job, [*python(), str(Path(oneshot.__file__))], None)
        await self._once(Request(self._driver, job, "GET", "/", oneshot.BODY_BYTES))
        taken = time.perf_counter_ns() - began
        await call("job_remove", job)
        return taken


class TunnelWay(AgentWay):
    """The same link, with a ``tcp_connect`` for each lane: HTTP and WebSocket pass as bytes."""

    async def get(self, size: int, *, varied: bool = False) -> Lane:
        return await _opened(TunnelGet(self._driver, self._job, size, varied=varied))

    async def put(self, size: int, rate: float | None = None) -> Lane:
        return await _opened(TunnelPut(self._driver, self._job, size, rate))

    async def echo(self, size: int) -> Lane:
        return await _opened(TunnelEcho(self._driver, self._job, size))

    async def events(self, seen: Callable[[int], None]) -> Callable[[], None]:
        lane = TunnelEvents(self._driver, self._job, seen)
        await lane.open()
        lane.send()
        return lane.cancel


async def _opened(lane: Socket) -> Lane:
    await lane.open()
    return lane


class _JobCycle:
    """Create, start, await and remove a job whose program does nothing."""

    def __init__(self, driver: LinkDriver) -> None:
        self.done: Callable[[], None] = idle
        self._driver = driver
        self._task: asyncio.Task[None] | None = None

    def send(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        call = self._driver.call
        try:
            job = (await call("job_create", "cycle"))["uid"]
            await call("job_start", job, ["true"], None, None, 0)
            await call("job_wait", job)
            await call("job_remove", job)
        except (Fault, MethodError) as error:
            self._driver.fail(str(error))
            return
        self.done()
