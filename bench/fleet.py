"""A router with many agents: ``python -m bench.fleet``. Its memory, its CPU time at rest, its answers, and its restart.

The agents are links of this process: each answers the router's watch with jobs that do not exist. One agent and its job
are real, so that traffic can be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import secrets
import signal
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import uvloop

from bench.loops import ClosedLoop
from bench.measure import percentiles
from bench.plain import PlainWay
from bench.process import Layout, Placing, allow_many_files, cpu_ns, layout, pin, rss_bytes
from bench.routerproc import RouterProcess, start_router, way_through
from pagent.errors import DialError, LinkClosedError
from pagent.net.dial import Address, Backoff, dial
from pagent.rpc.aio import AsyncStream
from pagent.rpc.calls import IncomingCall
from pagent.rpc.connection import Connection
from pagent.rpc.methods import istream, methods_of, unary
from pagent.wire import identity

_MB: Final = 1_000_000
_RECONNECT_S: Final = 10.0  # the default of client.reconnect_delay
_BACK_TIMEOUT_S: Final = 60.0
_GETS_S: Final = 3.0
_LISTINGS: Final = 20
_WATCH_S: Final = 10.0


class Figures(NamedTuple):
    """What one run has measured.

    ``memory``: bytes of the router; ``rest``: cores while nothing happens; ``listing_s``: the median time of ``GET
    /connections``; ``alone_s`` and ``beside_s``: the p99 of a GET to a job, alone and while ``/connections`` is asked
    for again and again; ``back_s``: after a kill, from the start of a new router to the last link.
    """

    memory: int
    rest: float
    listing_s: float
    alone_s: float
    beside_s: float
    back_s: float

    def lines(self) -> list[str]:
        """Return the report."""
        return [
            f"memory of the router     {self.memory / _MB:8.0f} MB",
            f"CPU time at rest         {self.rest * 100:8.2f} % of a core",
            f"GET /connections         {self.listing_s * 1e3:8.1f} ms",
            f"GET to a job, p99        {self.alone_s * 1e3:8.2f} ms",
            f"  beside /connections    {self.beside_s * 1e3:8.2f} ms",
            f"all links after a kill   {self.back_s:8.2f} s",
        ]


class SimulatedAgent:
    """The methods of an agent whose jobs are made up."""

    def __init__(self, number: int, jobs: int) -> None:
        self.uid = f"simulated-{number}"
        self._instance = secrets.token_hex(16)
        self._jobs = [_info(secrets.token_hex(16)) for _ in range(jobs)]
        #: Set while there is a link, and while there is none.
        self.linked, self.lost = asyncio.Event(), asyncio.Event()

    @istream
    async def agent_watch(self, call: IncomingCall, interval: float = _WATCH_S) -> None:
        """Send the jobs, then the figures of the host in the interval that is asked for."""
        assert call.stream is not None
        stream = AsyncStream(call.stream)
        host = {"load": [0.5, 0.5, 0.5], "cpus": 4, "memory_total": 8 << 30, "memory_available": 4 << 30}
        await stream.send({"host": host})
        await stream.send({"jobs": self._jobs})
        await stream.send({"ready": True})
        while True:
            await asyncio.sleep(interval)
            await stream.send({"host": host})

    @unary
    def job_count_current_connection(self, call: IncomingCall) -> int:
        """Return the number of jobs."""
        return len(self._jobs)

    async def keep_link(self, address: Address, token: str) -> None:
        """Dial the router, and dial it again as an agent does when the link is lost."""
        backoff, methods = Backoff(_RECONNECT_S), methods_of(self)
        while True:
            began = time.monotonic()
            link = Connection(
                dialled=True,
                user_data=identity.user_data(self.uid, self.uid, token=token),
                methods=methods,
                instance=self._instance,
            )
            try:
                await dial(address, link)
                await link.ready
                began = time.monotonic()
                self.lost.clear()
                self.linked.set()
                await asyncio.shield(link.link.closed)
            except (DialError, LinkClosedError):
                pass
            finally:
                self.linked.clear()
                self.lost.set()
            await asyncio.sleep(backoff.delay(time.monotonic() - began))


def _info(uid: str) -> dict[str, Any]:
    return {"uid": uid, "name": "simulated", "state": "RUNNING", "labels": {"made": "up"}, "ports": [8000], "pid": 1}


async def measure_fleet(agents: int, jobs: int, rest_s: float, gets_s: float = _GETS_S) -> Figures:
    """Start a router, a real agent and simulated ones, and measure.

    :param rest_s: seconds at rest.
    :param gets_s: seconds of GETs, alone and beside listings each.
    """
    places = layout(Placing.OWN_CORE)
    pin(os.getpid(), places.generator)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pagent-bench-")))
        router = await start_router(stack, places)
        fleet = [SimulatedAgent(number, jobs) for number in range(agents)]
        address = Address("127.0.0.1", router.server)
        keeping = [asyncio.create_task(agent.keep_link(address, router.token)) for agent in fleet]
        stack.callback(lambda: [task.cancel() for task in keeping])
        await _all_linked(fleet)
        way = await way_through(stack, router, folder, places)
        gc.collect()
        rest = await _at_rest(router.pid, rest_s)
        memory = rss_bytes(router.pid)  # after the rest, in which the router returns what it does not use
        alone = await _p99(way, gets_s)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{router.control}") as session:
            listing = statistics.median([await _listing(session) for _ in range(_LISTINGS)])
            asking = asyncio.create_task(_ask_on(session))
            try:
                beside = await _p99(way, gets_s)
            finally:
                asking.cancel()
        way.close()
        return Figures(memory, rest, listing, alone, beside, await _restarted(stack, router, fleet, places))


async def _all_linked(fleet: list[SimulatedAgent]) -> None:
    async with asyncio.timeout(_BACK_TIMEOUT_S):
        for agent in fleet:
            await agent.linked.wait()


async def _at_rest(pid: int, seconds: float) -> float:
    """Return the cores that a process uses while nothing happens."""
    before = cpu_ns(pid)
    await asyncio.sleep(seconds)
    return (cpu_ns(pid) - before) / 1e9 / seconds


async def _p99(way: PlainWay, seconds: float) -> float:
    sample = await ClosedLoop([await way.get(12)], way.fault).run(seconds)
    return percentiles(sample.latencies_ns, (99.0,))[0] / 1e9


async def _listing(session: aiohttp.ClientSession) -> float:
    began = time.perf_counter()
    async with session.get("/connections") as answer:
        answer.raise_for_status()
        await answer.read()
    return time.perf_counter() - began


async def _ask_on(session: aiohttp.ClientSession) -> None:
    while True:
        await _listing(session)


async def _restarted(
    stack: AsyncExitStack, router: RouterProcess, fleet: list[SimulatedAgent], places: Layout
) -> float:
    """Kill the router, and start one in its place; return the time until all links are there."""
    os.kill(router.pid, signal.SIGKILL)
    for agent in fleet:
        await agent.lost.wait()
    began = time.monotonic()
    await start_router(stack, places, instead_of=router)
    await _all_linked(fleet)
    return time.monotonic() - began


def main() -> None:
    """Run ``python -m bench.fleet`` and exit."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description="A router with many agents.")
    parser.add_argument("--agents", type=int, default=1000, help="simulated agents (1000)")
    parser.add_argument("--jobs", type=int, default=10, help="jobs of each (10)")
    parser.add_argument("--rest", type=float, default=30.0, metavar="SECONDS", help="time at rest (30)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    allow_many_files()
    figures = uvloop.run(measure_fleet(options.agents, options.jobs, options.rest))
    sys.stdout.write("\n".join([f"{options.agents:,} agents with {options.jobs} jobs each", *figures.lines(), ""]))


if __name__ == "__main__":
    main()
