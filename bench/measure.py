"""Rounds in turn, and what they come to."""

from __future__ import annotations

import array
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.process import cpu_ns, layout
from bench.rig import Rig, Role, rig
from bench.way import Lane, Way
from bench.workloads import Workload

_PERCENTILES: Final = (50.0, 99.0, 99.9)


@dataclass
class Round:
    """One round on one way; the CPU times are of the measured process, the load generator and the job."""

    units: float
    seconds: float
    cpu_ns: int
    generator_ns: int
    job_ns: int
    cost: float


@dataclass
class Series:
    """All rounds of one way."""

    rounds: list[Round] = field(default_factory=list)
    latencies_ns: array.array[int] = field(default_factory=lambda: array.array("q"))

    @property
    def cost(self) -> float:
        return statistics.median(r.cost for r in self.rounds)

    @property
    def rate(self) -> float:
        """Units per second of wall time."""
        return statistics.median(r.units / r.seconds for r in self.rounds)

    def busy(self, who: str) -> float:
        """Share of the wall time that ``cpu``, ``generator`` or ``job`` was running."""
        return float(statistics.median(getattr(r, f"{who}_ns") / 1e9 / r.seconds for r in self.rounds))

    def limit(self, who: str) -> float:
        """Units per second at which that process would be busy all the time."""
        spent = sum(getattr(r, f"{who}_ns") for r in self.rounds)
        return sum(r.units for r in self.rounds) * 1e9 / spent if spent else float("inf")

    def percentiles_us(self) -> list[float]:
        """p50, p99 and p99.9 of all rounds together; empty if there are no latencies."""
        return [value / 1000 for value in percentiles(self.latencies_ns, _PERCENTILES)]


@dataclass
class Result:
    """One row: series by the names of the ways, ``agent`` first and what the ratio is to second."""

    workload: Workload
    one_core: bool
    series: dict[str, Series]
    reference: str

    def ratios(self, name: str) -> list[float]:
        """Of each round of a way to the reference's round beside it."""
        return ratios([r.cost for r in self.series[name].rounds], [r.cost for r in self.series[self.reference].rounds])

    def as_json(self) -> dict[str, Any]:
        found = self.ratios("agent")
        return {
            "name": self.workload.name,
            "title": self.workload.title,
            "unit": self.workload.unit,
            "cost_unit": self.workload.cost_unit,
            "one_core": self.one_core,
            "reference": self.reference,
            "ratio": statistics.median(found),
            "ratios": found,
            "ways": {
                name: {
                    "cost": series.cost,
                    "rate": series.rate,
                    "percentiles_us": series.percentiles_us(),
                    "rounds": [vars(r) for r in series.rounds],
                }
                for name, series in self.series.items()
            },
        }


def ratios(costs: Sequence[float], references: Sequence[float]) -> list[float]:
    """Round by round; infinite where the reference took nothing."""
    return [cost / to if to else float("inf") for cost, to in zip(costs, references, strict=True)]


def percentiles(values: Iterable[int], wanted: Sequence[float]) -> list[float]:
    """Nearest rank; empty for no values."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [float(ordered[min(last, int(len(ordered) * p / 100))]) for p in wanted] if ordered else []


async def measure(workload: Workload, role: Role, rounds: int, peers: Sequence[str]) -> Result:
    """Measure one workload with processes of its own.

    Ways take turns, every second time in the opposite order, so that a slow drift of the machine hits all alike.
    :raises Fault: something did not go as it should.
    """
    places = layout(one_core=workload.one_core)
    async with rig(places, role, peers if workload.peers else ()) as processes:
        against = workload.against(processes.ways.pop("splice"))
        ways = [processes.ways["agent"], against, *(way for name, way in processes.ways.items() if name != "agent")]
        series = {way.name: Series() for way in ways}
        lanes: dict[str, Sequence[Lane]] = {}
        for way in ways:
            lanes[way.name] = await workload.prepare(way)
            await workload.warm_up(way, lanes[way.name])
        for turn in range(workload.rounds or rounds):
            for way in ways if turn % 2 == 0 else reversed(ways):
                await _round(workload, way, lanes[way.name], processes, series[way.name])
        if workload.direct:
            direct = processes.direct
            series[direct.name] = Series()
            own = await workload.prepare(direct)
            await _round(workload, direct, own, processes, series[direct.name])
        return Result(workload, places.server == places.generator, series, against.name)


async def _round(workload: Workload, way: Way, lanes: Sequence[Lane], processes: Rig, series: Series) -> None:
    pids = (way.pid, os.getpid(), processes.job_pid)
    before = [cpu_ns(pid) for pid in pids]
    sample = await workload.round(way, lanes)
    own, generator, job = (cpu_ns(pid) - then for pid, then in zip(pids, before, strict=True))
    cost = sample.cost if sample.cost is not None else own / 1000 / sample.units
    series.rounds.append(Round(sample.units, sample.seconds, own, generator, job, cost))
    series.latencies_ns.extend(sample.latencies_ns)


def clock_works() -> bool:
    """Whether the system tells the CPU time of a process to the nanosecond."""
    before = cpu_ns(os.getpid())
    until = time.monotonic() + 0.01
    while time.monotonic() < until:
        pass
    return cpu_ns(os.getpid()) > before
