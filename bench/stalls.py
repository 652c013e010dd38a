"""Measure how long an agent's event loop is blocked, by a call each millisecond while another link loads the agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from bench.agentway import AgentWay
from bench.link import LinkDriver
from bench.loads import Load
from bench.references import ProcessWay
from bench.way import Lane, Sample, Way
from bench.workload import Scale, Workload

_INTERVAL_S: Final = 0.001


class Stall(Workload):
    """The longest wait while another link loads the agent; the ratio is to the longest delay of a generator's timer."""

    unit = "load"
    cost_unit = "ms"
    also = ()

    def __init__(self, name: str, title: str, scale: Scale, load: Callable[[], Load]) -> None:
        super().__init__(name, title, scale)
        self._load = load
        self._loads: dict[str, tuple[Load, LinkDriver]] = {}

    def against(self, splice: Way) -> Way:
        return ProcessWay()

    async def prepare(self, way: Way) -> Sequence[Lane]:
        if isinstance(way, AgentWay):
            self._loads[way.name] = self._load(), await way.another_link()
        return ()

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        await self.round(way, lanes)

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        if not isinstance(way, AgentWay):
            return await self._measure(_no_call, asyncio.sleep(self.scale.round_s))
        load, link = self._loads[way.name]
        await load.prepare(link)
        return await self._measure(way.trivial_call, load.run(link))

    @staticmethod
    async def _measure(call: Callable[[], Awaitable[None]], load: Coroutine[Any, Any, None]) -> Sample:
        began = time.perf_counter()
        under_load = asyncio.ensure_future(load)
        longest = 0.0
        while not under_load.done():
            asked = time.perf_counter()
            await asyncio.gather(call(), asyncio.sleep(_INTERVAL_S))
            longest = max(longest, time.perf_counter() - asked - _INTERVAL_S)
        await under_load
        return Sample(1, time.perf_counter() - began, cost=longest * 1000)


async def _no_call() -> None:
    """Ask for nothing: the generator's own delays remain."""
