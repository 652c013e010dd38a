"""Measure how long an agent's event loop is blocked, by a call each millisecond while another link loads the agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from bench.agentway import AgentWay
from bench.references import ProcessWay
from bench.way import Lane, Sample, Way
from bench.workload import Scale, Workload

_INTERVAL_S: Final = 0.001
_JOBS: Final = 100
_CALLS: Final = 200


class Listings(Workload):
    """The longest wait while another link lists jobs; the ratio is to the longest delay of a timer of the generator."""

    unit = "load"
    cost_unit = "ms"
    also = ()

    def __init__(self, name: str, title: str, scale: Scale) -> None:
        super().__init__(name, title, scale)
        self._loads: dict[str, Callable[[], Awaitable[None]]] = {}

    def against(self, splice: Way) -> Way:
        return ProcessWay()

    async def prepare(self, way: Way) -> Sequence[Lane]:
        if isinstance(way, AgentWay):
            self._loads[way.name] = await way.listings(_JOBS, _CALLS)
        return ()

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        await self.round(way, lanes)

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        call = way.trivial_call if isinstance(way, AgentWay) else _nothing
        load = self._loads.get(way.name)
        began = time.perf_counter()
        under_load = asyncio.ensure_future(asyncio.sleep(self.scale.round_s) if load is None else load())
        longest = 0.0
        while not under_load.done():
            asked = time.perf_counter()
            await asyncio.gather(call(), asyncio.sleep(_INTERVAL_S))
            longest = max(longest, time.perf_counter() - asked - _INTERVAL_S)
        await under_load
        return Sample(1, time.perf_counter() - began, cost=longest * 1000)


async def _nothing() -> None:
    """The reference: a timer of the generator itself."""
