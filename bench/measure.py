"""Measure rounds in turn, and compute their results."""

from __future__ import annotations

import array
import os
import statistics
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.process import cpu_ns, layout
from bench.rig import AGENT, BASE, SPLICE, delayed_rig, rig
from bench.way import Fault, Lane, Way
from bench.workload import ROUTER, TWO_SPLICES, Workload

_PERCENTILES: Final = (50.0, 99.0, 99.9)
_DISTRIBUTION: Final = (
    *(float(percent) for percent in range(0, 90, 5)),
    *(90.0, 92.5, 95.0, 96.0, 97.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.99, 100.0),
)


@dataclass
class Round:
    """One round on one way; the CPU times are of the measured processes, the load generator and the job.

    ``parts_ns``: the CPU time of each measured process; ``cpu_ns``: their sum.
    """

    turn: int
    units: float
    seconds: float
    cpu_ns: int
    generator_ns: int
    job_ns: int
    cost: float
    extra: dict[str, float] = field(default_factory=dict)
    parts_ns: list[int] = field(default_factory=list)


@dataclass
class Series:
    """All rounds of one way."""

    rounds: list[Round] = field(default_factory=list)
    latencies_ns: array.array[int] = field(default_factory=lambda: array.array("q"))

    @property
    def cost(self) -> float:
        return statistics.median(r.cost for r in self.rounds)

    def part_us(self, number: int) -> float:
        """Return the CPU microseconds by unit of one of the measured processes."""
        return statistics.median(r.parts_ns[number] / 1000 / r.units for r in self.rounds)

    @property
    def rate(self) -> float:
        """Units per second of wall time."""
        return statistics.median(r.units / r.seconds for r in self.rounds)

    def busy(self, part: str) -> float:
        """Return the share of the wall time that ``cpu``, ``generator`` or ``job`` was running."""
        return float(statistics.median(getattr(r, f"{part}_ns") / 1e9 / r.seconds for r in self.rounds))

    def limit(self, part: str) -> float:
        """Units per second at which that process would be busy all the time."""
        spent = sum(getattr(r, f"{part}_ns") for r in self.rounds)
        return sum(r.units for r in self.rounds) * 1e9 / spent if spent else float("inf")

    def percentiles_us(self) -> list[float]:
        """Return p50, p99 and p99.9 of all rounds together; empty without latencies."""
        return [value / 1000 for value in percentiles(self.latencies_ns, _PERCENTILES)]

    def distribution_us(self) -> list[list[float]]:
        """Return pairs of a percentage and the latency below which that share is, up to the longest.

        Empty without latencies.
        """
        found = percentiles(self.latencies_ns, _DISTRIBUTION)
        return [[percent, value / 1000] for percent, value in zip(_DISTRIBUTION, found, strict=False)]

    def extra(self) -> dict[str, float]:
        """Return the medians of the rounds' further figures."""
        names = self.rounds[0].extra if self.rounds else {}
        return {name: statistics.median(r.extra[name] for r in self.rounds) for name in names}


@dataclass
class Result:
    """One row: series by the names of the ways; ``reference``: what the ratio is to."""

    workload: Workload
    series: dict[str, Series]
    reference: str

    def ratios(self, name: str) -> list[float]:
        """Return the ratio of each round of a way to the reference's round of the same turn."""
        return self.ratios_to(name, self.reference)

    def ratios_to(self, name: str, other: str) -> list[float]:
        """Return the ratios to any way."""
        return ratios(*self._same_turns(name, other))

    def differences(self, name: str, other: str) -> list[float]:
        """Return what each round of a way costs more than the round of another way of the same turn."""
        return [cost - to for cost, to in zip(*self._same_turns(name, other), strict=True)]

    @property
    def ratio(self) -> float:
        """Return the agent's ratio: the median of its rounds."""
        return statistics.median(self.ratios(AGENT))

    def _same_turns(self, name: str, other: str) -> tuple[list[float], list[float]]:
        """Return the costs of two ways in the turns in which both had a round."""
        of_turn = {r.turn: r.cost for r in self.series[other].rounds}
        mine = [r for r in self.series[name].rounds if r.turn in of_turn]
        return [r.cost for r in mine], [of_turn[r.turn] for r in mine]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.workload.name,
            "title": self.workload.title,
            "unit": self.workload.unit,
            "cost_unit": self.workload.cost_unit,
            "placing": self.workload.placing.name,
            "reference": self.reference,
            "ratio": self.ratio,
            "ratios": self.ratios(AGENT),
            "ways": {
                name: {
                    "cost": series.cost,
                    "rate": series.rate,
                    "percentiles_us": series.percentiles_us(),
                    "distribution_us": series.distribution_us(),
                    "extra": series.extra(),
                    "rounds": [vars(r) for r in series.rounds],
                }
                for name, series in self.series.items()
            },
        }


def ratios(costs: Sequence[float], references: Sequence[float]) -> list[float]:
    """Return the ratios round by round; infinite where the reference took nothing."""
    return [cost / to if to else float("inf") for cost, to in zip(costs, references, strict=True)]


def percentiles(values: Iterable[int], wanted: Sequence[float]) -> list[float]:
    """Return percentiles by nearest rank; empty for no values."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [float(ordered[min(last, int(len(ordered) * p / 100))]) for p in wanted] if ordered else []


async def measure(
    workload: Workload, rounds: int, without: Collection[str] = (), base: Path | None = None
) -> AsyncIterator[Result]:
    """Measure one workload with processes of its own; a result for each of its steps.

    Ways take turns, every second time in the opposite order, so that a slow drift of the machine hits all alike. The
    agents, the router and the references have all rounds, the others every second.

    :raises Fault: something did not go as it should.
    """
    places = layout(workload.placing)
    also = [name for name in workload.also if name not in without]
    processes = delayed_rig(places, also) if workload.delayed else rig(places, also, base)
    async with processes as ways:
        against = workload.against(ways[SPLICE])
        if against is not ways[SPLICE]:
            del ways[SPLICE]
            ways[against.name] = against
        try:
            for step in workload.steps():
                yield await _measure_step(step, rounds, ways, against.name)
        finally:
            against.close()


async def _measure_step(workload: Workload, rounds: int, ways: dict[str, Way], reference: str) -> Result:
    lanes: dict[str, Sequence[Lane]] = {}
    for name, way in ways.items():
        with _named(name):
            lanes[name] = await workload.prepare(way)
            await workload.warm_up(way, lanes[name])
    series = {name: Series() for name in ways}
    always = {AGENT, BASE, ROUTER, TWO_SPLICES, reference, *workload.references}
    for turn in range(workload.rounds or rounds):
        for name, way in list(ways.items())[:: 1 if turn % 2 == 0 else -1]:
            if turn % 2 == 0 or name in always:
                with _named(name):
                    await _round(workload, way, lanes[name], turn, series[name])
    return Result(workload, series, reference)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Add the name of the way to its faults."""
    try:
        yield
    except Fault as fault:
        raise Fault(f"{name}: {fault}") from fault


async def _round(workload: Workload, way: Way, lanes: Sequence[Lane], turn: int, series: Series) -> None:
    pids = (os.getpid(), way.job_pid, *way.pids)
    before = [cpu_ns(pid) for pid in pids]
    sample = await workload.round(way, lanes)
    generator, job, *parts = (cpu_ns(pid) - then for pid, then in zip(pids, before, strict=True))
    own = sum(parts)
    cost = sample.cost if sample.cost is not None else own / 1000 / sample.units
    series.rounds.append(Round(turn, sample.units, sample.seconds, own, generator, job, cost, sample.extra, parts))
    series.latencies_ns.extend(sample.latencies_ns)


def clock_works() -> bool:
    """Return whether the system reports the CPU time of a process to the nanosecond."""
    before = cpu_ns(os.getpid())
    until = time.monotonic() + 0.01
    while time.monotonic() < until:
        pass
    return cpu_ns(os.getpid()) > before
