"""What is measured: a small class for each kind, a line of WORKLOADS for each row."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fnmatch
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from bench.plain import PlainWay
from bench.process import rss_bytes
from bench.way import ClosedLoop, Fault, Lane, Sample, Way

KIB: Final = 1024
MIB: Final = 1024 * KIB
MB: Final = 1_000_000
#: Of the paced upload: 1.6 Gbit/s.
PACE: Final = 200 * MB


class Scale:
    """How long and how much; ``quick`` is for trying the bench out, not for figures."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.round_s = 0.3 if quick else 0.8
        self.bulk_bytes = 64 * MIB if quick else 1024 * MIB
        self.file_bytes = 16 * MIB if quick else 128 * MIB
        self.sockets = 100 if quick else 500


class Workload:
    """One row. A round is made by :meth:`round` on what :meth:`prepare` returned for that way.

    ``unit``: what is counted. ``cost_unit``: of the figure that the ratio is made of: CPU microseconds per unit,
    unless rounds return a cost of their own. ``one_core``: everything runs on one core. ``main``: also for the
    dialled role. ``peers``: whether proxies of others do it too. ``direct``: whether the job alone is worth
    a round. ``rounds``: if another number makes no sense.
    """

    unit = "GET"
    cost_unit = "us"
    one_core = False
    main = True
    peers = True
    direct = True
    rounds: int | None = None

    def __init__(self, name: str, title: str, scale: Scale) -> None:
        self.name = name
        self.title = title
        self.scale = scale

    async def prepare(self, way: Way) -> Sequence[Lane]:
        raise NotImplementedError

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        return await ClosedLoop(lanes, way.fault).run(self.scale.round_s)

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        await ClosedLoop(lanes, way.fault).run(0.2)

    def against(self, splice: Way) -> Way:
        """What the ratio is to."""
        return splice


class Get(Workload):
    """GETs, ``at_once`` in flight."""

    def __init__(self, name: str, title: str, scale: Scale, size: int, at_once: int) -> None:
        super().__init__(name, title, scale)
        self.one_core = at_once == 1
        self._size = size
        self._at_once = at_once

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return [await way.get(self._size) for _ in range(self._at_once)]


class Echo(Workload):
    """WebSocket messages and their echoes, one in flight on each socket."""

    unit = "message"

    def __init__(self, name: str, title: str, scale: Scale, size: int, sockets: int) -> None:
        super().__init__(name, title, scale)
        self.one_core = sockets == 1
        self._size = size
        self._sockets = sockets

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return [await way.echo(self._size) for _ in range(self._sockets)]


class Bulk(Workload):
    """One large body at a time. ``open_lane``: which of a way's lanes."""

    unit = "MB"

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
        lane = await self._open_lane(way, 16 * MIB)
        await ClosedLoop([lane], way.fault).run(0)


class Paced(Bulk):
    """At a rate that any job keeps up with: without flow control a faster caller makes the agent spool to disk."""

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        lane = await self._open_lane(way, 8 * MIB)
        await ClosedLoop([lane], way.fault).run(0)


class Tunnel(Bulk):
    main = False
    peers = False


class File(Tunnel):
    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        await ClosedLoop(lanes, way.fault).run(0)


class IdleSockets(Workload):
    """Memory of WebSockets that are open and idle: each round opens more of them."""

    unit = "socket"
    cost_unit = "B"
    main = False
    peers = False
    direct = False
    rounds = 3

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return [await way.echo(16) for _ in range(32)]

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        count = self.scale.sockets
        before = rss_bytes(way.pid)
        began = time.perf_counter()
        opened = [await way.echo(16) for _ in range(count)]
        seconds = time.perf_counter() - began
        # Each carries something once: what a socket needs only then is part of its price.
        await ClosedLoop(opened, way.fault).run(0)
        return Sample(count, seconds, cost=(rss_bytes(way.pid) - before) / count)


class Jobs(Workload):
    """Jobs of a program that does nothing, one after the other; the ratio is to bare starts of it by the generator."""

    unit = "job"
    main = False
    peers = False
    direct = False

    def against(self, splice: Way) -> Way:
        return PlainWay("spawn", 0, os.getpid())

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return [await way.job_cycle()]


class Events(Workload):
    """A stream of events, one every 2 ms; the latency is from the job's write to the client's read."""

    unit = "event"
    main = False

    def __init__(self, name: str, title: str, scale: Scale) -> None:
        super().__init__(name, title, scale)
        self._seen: dict[str, list[int]] = {}

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return []

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        if way.name not in self._seen:
            await self._open(way)
        latencies = self._seen[way.name]
        latencies.clear()
        began = time.perf_counter()
        await asyncio.wait((way.fault,), timeout=self.scale.round_s)
        seconds = time.perf_counter() - began
        if way.fault.done():
            way.fault.result()
        if not latencies:
            raise Fault(f"{way.name}: no event came")
        return Sample(len(latencies), seconds, array.array("q", latencies))

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        await self.round(way, lanes)

    async def _open(self, way: Way) -> None:
        latencies = self._seen[way.name] = []

        def seen(written_ns: int) -> None:
            latencies.append(time.monotonic_ns() - written_ns)

        await way.events(seen)


class Mixed(Workload):
    """GETs one at a time while bulk downloads run beside them on the same link; the ratio is of the GETs' p99."""

    cost_unit = "us p99"
    main = False

    def __init__(self, name: str, title: str, scale: Scale, downloads: int) -> None:
        super().__init__(name, title, scale)
        self._downloads = downloads

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return [await way.get(12), *[await way.get(8 * MIB) for _ in range(self._downloads)]]

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        get, *bulk = lanes
        seconds = 3 * self.scale.round_s  # a p99 needs its hundreds of GETs
        downloads = asyncio.ensure_future(ClosedLoop(bulk, way.fault).run(seconds))
        try:
            sample = await ClosedLoop([get], way.fault).run(seconds)
            await downloads
        finally:
            downloads.cancel()
            with contextlib.suppress(asyncio.CancelledError, Fault):
                await downloads
        ordered = sorted(sample.latencies_ns)
        sample.cost = ordered[len(ordered) * 99 // 100] / 1000
        return sample


def workloads(scale: Scale) -> list[Workload]:
    """All rows, in the order of the table."""
    bulk, file = scale.bulk_bytes, scale.file_bytes
    return [
        Get("get1", "GET 12 B, 1 in flight, one core", scale, 12, 1),
        Get("get64", "GET 12 B, 64 in flight", scale, 12, 64),
        Get("get512", "GET 12 B, 512 in flight", scale, 12, 512),
        Get("get64k", "GET 64 KiB, 16 in flight", scale, 64 * KIB, 16),
        Bulk("down", "download", scale, bulk, lambda way, size: way.get(size)),
        Bulk("up", "upload", scale, bulk, lambda way, size: way.put(size)),
        Paced("up-paced", f"upload at {PACE // MB} MB/s", scale, bulk // 8, lambda way, size: way.put(size, PACE)),
        Tunnel("tunnel-down", "download by tcp_connect", scale, bulk, lambda way, size: way.tunnel_get(size)),
        Tunnel("tunnel-up", "upload by tcp_connect", scale, bulk, lambda way, size: way.tunnel_put(size)),
        Echo("ws16", "WebSocket 16 B, 1 socket, one core", scale, 16, 1),
        Echo("ws1k", "WebSocket 1 KiB, 1 socket, one core", scale, KIB, 1),
        Echo("ws64k", "WebSocket 64 KiB, 1 socket, one core", scale, 64 * KIB, 1),
        Echo("ws16x64", "WebSocket 16 B, 64 sockets", scale, 16, 64),
        Echo("ws1kx64", "WebSocket 1 KiB, 64 sockets", scale, KIB, 64),
        Echo("ws64kx64", "WebSocket 64 KiB, 64 sockets", scale, 64 * KIB, 64),
        IdleSockets("ws-idle", "idle WebSocket, memory", scale),
        File("file-down", "file_download", scale, file, lambda way, size: way.file_get(size)),
        File("file-up", "file_upload", scale, file, lambda way, size: way.file_put(size)),
        Jobs("job", "job: create, start, wait, remove", scale),
        Events("events", "event every 2 ms", scale),
        Mixed("mixed1", "GET beside 1 download", scale, 1),
        Mixed("mixed4", "GET beside 4 downloads", scale, 4),
        Mixed("mixed16", "GET beside 16 downloads", scale, 16),
    ]


def select(everything: Sequence[Workload], patterns: Sequence[str]) -> list[Workload]:
    """Those whose names match any pattern; ValueError for a pattern that matches none."""
    chosen: set[str] = set()
    for pattern in patterns:
        names = fnmatch.filter([workload.name for workload in everything], pattern)
        if not names:
            raise ValueError(f"no workload is called {pattern!r}")
        chosen.update(names)
    return [workload for workload in everything if not patterns or workload.name in chosen]
