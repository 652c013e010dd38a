"""Requests, messages and bodies through the job's port."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, cast

from bench.agentway import AgentWay
from bench.loops import ClosedLoop, RotatingLoop
from bench.plain import PlainWay
from bench.process import rss_bytes
from bench.way import Lane, Sample, Way
from bench.workload import MB, MIB, Scale, Workload

#: Bytes per second of the paced upload: 1.6 Gbit/s.
PACED_RATE: Final = 200 * MB

#: WebSockets that are being opened at once.
_OPENING: Final = 32
#: Messages in flight while the number of open sockets grows.
_IN_FLIGHT: Final = 64
_STEPS: Final = (1, 10, 100, 1000, 10_000)


class Get(Workload):
    """GETs, ``at_once`` in flight; ``varied``: each is another one."""

    def __init__(self, name: str, title: str, scale: Scale, size: int, at_once: int, *, varied: bool = False) -> None:
        super().__init__(name, title, scale)
        self._size = size
        self._at_once = at_once
        self._varied = varied

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return [await way.get(self._size, varied=self._varied) for _ in range(self._at_once)]


class Echo(Workload):
    """WebSocket messages and their echoes, one in flight on each socket."""

    unit = "message"

    def __init__(self, name: str, title: str, scale: Scale, size: int, sockets: int) -> None:
        super().__init__(name, title, scale)
        self._size = size
        self._sockets = sockets

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return await open_sockets(way, self._size, self._sockets)


class Bulk(Workload):
    """One large body at a time. ``open_lane`` opens the lane of a way."""

    unit = "MB"
    rounds = 3

    def __init__(
        self, name: str, title: str, scale: Scale, size: int, open_lane: Callable[[Way, int], Awaitable[Lane]]
    ) -> None:
        super().__init__(name, title, scale)
        self._size = size
        self._open_lane = open_lane

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return [await self._open_lane(way, self._size)]

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        sample = await ClosedLoop(lanes, way.fault).run(0)
        sample.units *= self._size / MB
        return sample

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        lane = await self._open_lane(way, min(self._size, 16 * MIB))
        await ClosedLoop([lane], way.fault).run(0)


class File(Bulk):
    """Files of the sandbox, which only the agent has."""

    also = ()
    rounds = 5

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        for _ in range(2):  # the second is written to unused memory as well, while the first exists
            await ClosedLoop(lanes, way.fault).run(0)


class IdleSockets(Workload):
    """Memory of idle open WebSockets, less that of the first few."""

    unit = "socket"
    cost_unit = "B"
    also = ()
    rounds = 1

    def __init__(self, name: str, title: str, scale: Scale, sockets: int | None = None) -> None:
        super().__init__(name, title, scale)
        self._sockets = sockets  # None: as many as descriptors allow

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return await open_sockets(way, 16, 16)

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        count = (self._sockets or _most(self.scale, way)) - len(lanes)
        before = _memory(way)
        began = time.perf_counter()  # the loop's own clock counts milliseconds: too few for a tiny round
        opened = await open_sockets(way, 16, count)
        seconds = time.perf_counter() - began
        # Each carries one message: memory that a socket needs only then is counted, too.
        await ClosedLoop(opened, way.fault).run(0)
        return Sample(count, seconds, cost=(_memory(way) - before) / count)


class IdleClients(Workload):
    """Memory of idle connections of clients, each of which has made one request. A call leaves nothing on a link."""

    unit = "connection"
    cost_unit = "B"
    also = ()
    rounds = 1

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return [await way.get(12) for _ in range(16)]

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        before = _memory(way)
        began = time.perf_counter()
        for _ in range(self.scale.many):  # one after the other: the agent keeps one connection to the job only
            await ClosedLoop([await way.get(12)], way.fault).run(0)
        seconds = time.perf_counter() - began
        return Sample(self.scale.many, seconds, cost=(_memory(way) - before) / self.scale.many)


class IdleLinks(Workload):
    """Memory of idle open links, compared with connections through the splice."""

    unit = "link"
    cost_unit = "B"
    also = ()
    rounds = 1

    async def prepare(self, way: Way) -> Sequence[Lane]:
        await _open_links(way, 16)
        return ()

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        before = _memory(way)
        began = time.perf_counter()
        await _open_links(way, self.scale.many)
        seconds = time.perf_counter() - began
        return Sample(self.scale.many, seconds, cost=(_memory(way) - before) / self.scale.many)

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        """Open the first links, which are not counted."""


async def _open_links(way: Way, count: int) -> None:
    if isinstance(way, PlainWay):
        await open_sockets(way, 16, count)
    else:
        for _ in range(count):
            await cast(AgentWay, way).open_link()


class Streams(Workload):
    """The cost of a message against the number of open streams: a row for each number, on the same processes."""

    also = ()

    def steps(self) -> Iterable[Workload]:
        opened: dict[str, list[Lane]] = {}
        most = min(self.scale.sockets, _STEPS[-1])
        for count in sorted({min(count, most) for count in _STEPS}):
            yield _StreamsStep(self, count, opened)


class _StreamsStep(Workload):
    unit = "message"

    def __init__(self, whole: Streams, count: int, opened: dict[str, list[Lane]]) -> None:
        super().__init__(f"{whole.name}-{count}", f"{whole.title}, {count:,} open", whole.scale)
        self.placing = whole.placing
        self._count = count
        self._opened = opened

    async def prepare(self, way: Way) -> Sequence[Lane]:
        lanes = self._opened.setdefault(way.name, [])
        lanes += await open_sockets(way, 16, min(self._count, _most(self.scale, way)) - len(lanes))
        return lanes

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        return await RotatingLoop(lanes, _IN_FLIGHT, way.fault).run(self.scale.round_s)

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        await ClosedLoop(lanes, way.fault).run(0)


def _memory(way: Way) -> int:
    """Return the resident memory of all processes on the way."""
    return sum(map(rss_bytes, way.pids))


def _most(scale: Scale, way: Way) -> int:
    return scale.sockets_spliced if isinstance(way, PlainWay) else scale.sockets


async def open_sockets(way: Way, size: int, count: int) -> list[Lane]:
    """Open ``count`` WebSockets for messages of ``size`` bytes, some of them at once."""
    opened: list[Lane] = []
    while len(opened) < count:
        wave = min(_OPENING, count - len(opened))
        opened += await asyncio.gather(*(way.echo(size) for _ in range(wave)))
    return opened
