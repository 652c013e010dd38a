"""Measure interactive traffic beside bulk on one link, and a stream of events."""

from __future__ import annotations

import array
import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Final

from bench.loops import ClosedLoop, PacedLoop
from bench.way import Fault, Lane, Sample, Way
from bench.workload import DIALS, DIRECT, MB, MIB, PEERS, TUNNEL, Scale, Workload

#: Seconds between two GETs, and between two WebSocket messages, beside bulk; and how many may be under way.
_INTERVAL_S: Final = 0.004
_AT_ONCE: Final = 16
#: Size of one download, which is repeated. At its beginning the job has room for megabytes in the kernel, and writes
#: without a pause. With 8 MiB the slowest GETs beside 16 downloads would measure these beginnings only.
_BULK_BYTES: Final = 64 * MIB
#: The first events are not counted.
_SETTLED_S: Final = 0.05


class Events(Workload):
    """A stream of events, one every 2 ms; the latency is from the job's write to the client's read.

    Its promises are about what a way adds to the direct latency.
    """

    unit = "event"
    cost_unit = "us p50"
    also = (DIALS, TUNNEL, *PEERS, DIRECT)
    references = (DIRECT,)

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return ()

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        latencies: list[int] = []

        def seen(written_ns: int) -> None:
            latencies.append(time.monotonic_ns() - written_ns)

        stop = await way.events(seen)
        await asyncio.wait((way.fault,), timeout=_SETTLED_S)
        latencies.clear()
        began = time.perf_counter()
        await asyncio.wait((way.fault,), timeout=self.scale.round_s)
        seconds = time.perf_counter() - began
        if way.fault.done():
            way.fault.result()
        stop()
        if not latencies:
            raise Fault("no event came")
        taken = array.array("q", latencies)
        return Sample(len(latencies), seconds, taken, _percentile_us(taken, 50))

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        await self.round(way, lanes)


class Mixed(Workload):
    """A GET and a WebSocket message every 4 ms, alone and while bulk downloads run beside them on the same link.

    The cost is how many times its p99 alone a GET's p99 is beside the bulk. ``extra``: all that it was made of.
    """

    cost_unit = "x p99"
    also = ()
    rounds = 5  # a p99 depends on few exchanges, and varies

    def __init__(self, name: str, title: str, scale: Scale, downloads: int) -> None:
        super().__init__(name, title, scale)
        self._downloads = downloads

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return [
            *[await way.get(12) for _ in range(_AT_ONCE)],
            *[await way.echo(16) for _ in range(_AT_ONCE)],
            *[await way.get(min(_BULK_BYTES, self.scale.bulk_bytes)) for _ in range(self._downloads)],
        ]

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        small, bulk = lanes[: 2 * _AT_ONCE], lanes[2 * _AT_ONCE :]
        seconds = 2.5 * self.scale.round_s  # a p99 needs its hundreds of exchanges
        gets, echoes = await _interactive(way, small, seconds)
        downloads = await ClosedLoop(bulk, way.fault).run(seconds)
        beside = asyncio.ensure_future(ClosedLoop(bulk, way.fault).run(seconds))
        try:
            gets_beside, echoes_beside = await _interactive(way, small, seconds, beside)
            downloads_beside = await beside
        finally:
            beside.cancel()
            with contextlib.suppress(asyncio.CancelledError, Fault):
                await beside
        extra = {
            "get_p50_alone_us": _percentile_us(gets.latencies_ns, 50),
            "get_p50_beside_us": _percentile_us(gets_beside.latencies_ns, 50),
            "get_p99_alone_us": _percentile_us(gets.latencies_ns, 99),
            "get_p99_beside_us": _percentile_us(gets_beside.latencies_ns, 99),
            "ws_p99_alone_us": _percentile_us(echoes.latencies_ns, 99),
            "ws_p99_beside_us": _percentile_us(echoes_beside.latencies_ns, 99),
            "bulk_alone": self._rate(downloads),
            "bulk_beside": self._rate(downloads_beside),
        }
        gets_beside.cost = extra["get_p99_beside_us"] / extra["get_p99_alone_us"]
        gets_beside.extra = extra
        return gets_beside

    def _rate(self, downloads: Sample) -> float:
        """MB/s."""
        return downloads.units * min(_BULK_BYTES, self.scale.bulk_bytes) / MB / downloads.seconds


async def _interactive(
    way: Way, lanes: Sequence[Lane], seconds: float, beside: asyncio.Future[Sample] | None = None
) -> tuple[Sample, Sample]:
    gets, echoes = (
        PacedLoop(part, _INTERVAL_S, way.fault).run(seconds, beside) for part in (lanes[:_AT_ONCE], lanes[_AT_ONCE:])
    )
    got, echoed = await asyncio.gather(gets, echoes)
    return got, echoed


def _percentile_us(values: Sequence[int], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] / 1000
