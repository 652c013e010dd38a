"""The loops of the load generator, on lanes that answer when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bench.loops import ClosedLoop, PacedLoop, RotatingLoop
from bench.way import Fault, idle


class EagerLane:
    """Is done in the next turn of the loop."""

    def __init__(self) -> None:
        self.done: Callable[[], None] = idle
        self.sent = 0

    def send(self) -> None:
        self.sent += 1
        asyncio.get_running_loop().call_soon(self._finish)

    def _finish(self) -> None:
        self.done()


class SlowLane(EagerLane):
    """A lane whose exchange ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.finished = 0

    def send(self) -> None:
        self.sent += 1

    def finish(self) -> None:
        self.finished += 1
        self.done()


def fault() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def test_a_closed_loop_makes_at_least_one_exchange_a_lane() -> None:
    lanes = [EagerLane() for _ in range(3)]
    sample = await ClosedLoop(lanes, fault()).run(0)
    assert [lane.sent for lane in lanes] == [1, 1, 1]
    assert sample.units == len(sample.latencies_ns) == 3


async def test_a_fault_ends_a_loop() -> None:
    broken = fault()
    broken.set_exception(Fault("lost"))
    with pytest.raises(Fault, match="lost"):
        await ClosedLoop([SlowLane()], broken).run(10)


async def test_a_rotating_loop_gives_every_lane_its_turn() -> None:
    lanes = [EagerLane() for _ in range(10)]
    loop = RotatingLoop(lanes, 2, fault())
    sample = await loop.run(0.02)
    assert sample.units == sum(lane.sent for lane in lanes)
    assert max(lane.sent for lane in lanes) - min(lane.sent for lane in lanes) <= 1


async def test_a_rotating_loop_never_has_more_in_flight() -> None:
    lanes = [SlowLane() for _ in range(5)]
    task = asyncio.ensure_future(RotatingLoop(lanes, 2, fault()).run(0))
    await asyncio.sleep(0)
    assert [lane.sent for lane in lanes] == [1, 1, 0, 0, 0]
    lanes[0].finish()
    lanes[1].finish()
    assert (await task).units == 2


async def test_a_paced_loop_counts_the_wait_for_a_lane() -> None:
    """An exchange that stalls delays the following ones: their latencies begin when they should have begun."""
    lane = SlowLane()
    task = asyncio.ensure_future(PacedLoop([lane], 0.005, fault()).run(0.02))
    loop = asyncio.get_running_loop()
    stalled: asyncio.Future[None] = loop.create_future()
    loop.call_later(0.05, stalled.set_result, None)
    await stalled
    assert lane.sent == 1
    while lane.finished < lane.sent:
        lane.finish()
    sample = await task
    assert sample.units == lane.sent >= 2
    # All are done at about the same time, so an exchange that began later has waited less.
    assert list(sample.latencies_ns) == sorted(sample.latencies_ns, reverse=True)


async def test_a_paced_loop_goes_on_as_long_as_what_it_runs_beside() -> None:
    lane = EagerLane()
    loop = asyncio.get_running_loop()
    bulk: asyncio.Future[None] = loop.create_future()
    task = asyncio.ensure_future(PacedLoop([lane], 0.001, fault()).run(0.002, bulk))
    reached: asyncio.Future[None] = loop.create_future()

    def look() -> None:
        if lane.sent > 10:  # more than there would be without it
            reached.set_result(None)
        else:
            loop.call_soon(look)

    look()
    await reached
    assert not task.done()
    bulk.set_result(None)
    assert (await task).units == lane.sent
