"""Loops that keep exchanges in flight on lanes and measure their latencies."""

from __future__ import annotations

import array
import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from bench.way import Lane, Sample, until

#: Seconds after its due end at which a loop is stuck.
_STUCK_AFTER_S: Final = 60.0


class ClosedLoop:
    """Keeps one exchange in flight on every lane: the next begins when the last is done."""

    def __init__(self, lanes: Sequence[Lane], fault: asyncio.Future[None]) -> None:
        self._lanes = lanes
        self._fault = fault

    async def run(self, seconds: float) -> Sample:
        """Run for ``seconds``, and until all exchanges that have begun are done; at least one on each lane.

        :raises Fault: the way's; or no end in sight.
        """
        latencies = array.array("q")
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        began = time.perf_counter_ns()
        deadline = began + int(seconds * 1e9)
        left = len(self._lanes)

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left and not finished.done():
                finished.set_result(None)

        for lane in self._lanes:
            _Keeper(lane, deadline, latencies, one_less).begin()
        await until(finished, self._fault, seconds + _STUCK_AFTER_S)
        return Sample(len(latencies), (time.perf_counter_ns() - began) / 1e9, latencies)


class _Keeper:
    """Keeps one lane busy until the deadline."""

    __slots__ = ("_began", "_deadline", "_ended", "_lane", "_latencies")

    def __init__(self, lane: Lane, deadline: int, latencies: array.array[int], ended: Callable[[], None]) -> None:
        self._lane = lane
        self._deadline = deadline
        self._latencies = latencies
        self._ended = ended
        self._began = 0
        lane.done = self._done

    def begin(self) -> None:
        self._began = time.perf_counter_ns()
        self._lane.send()

    def _done(self) -> None:
        now = time.perf_counter_ns()
        self._latencies.append(now - self._began)
        if now < self._deadline:
            self._began = now
            self._lane.send()
        else:
            self._ended()


class RotatingLoop:
    """Keeps ``at_once`` exchanges in flight, which rotate over all lanes: every stream has its turn."""

    def __init__(self, lanes: Sequence[Lane], at_once: int, fault: asyncio.Future[None]) -> None:
        done = self._done
        self._idle = deque(_Turn(lane, done) for lane in lanes)
        self._at_once = min(at_once, len(lanes))
        self._fault = fault
        self._latencies = array.array("q")
        self._deadline = 0
        self._left = 0
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, seconds: float) -> Sample:
        """Run as :meth:`ClosedLoop.run`. A loop runs once."""
        began = time.perf_counter_ns()
        self._deadline = began + int(seconds * 1e9)
        self._left = self._at_once
        for _ in range(self._at_once):
            self._idle.popleft().begin(began)
        await until(self._finished, self._fault, seconds + _STUCK_AFTER_S)
        return Sample(len(self._latencies), (time.perf_counter_ns() - began) / 1e9, self._latencies)

    def _done(self, turn: _Turn) -> None:
        now = time.perf_counter_ns()
        self._latencies.append(now - turn.began)
        self._idle.append(turn)
        if now < self._deadline:
            self._idle.popleft().begin(now)
            return
        self._left -= 1
        if not self._left and not self._finished.done():
            self._finished.set_result(None)


class _Turn:
    """A lane in a rotating loop."""

    __slots__ = ("_done", "_lane", "began")

    def __init__(self, lane: Lane, done: Callable[[_Turn], None]) -> None:
        self._lane = lane
        self._done = done
        self.began = 0
        lane.done = self._lane_done

    def begin(self, now: int) -> None:
        self.began = now
        self._lane.send()

    def _lane_done(self) -> None:
        self._done(self)


class PacedLoop:
    """Begins an exchange every ``interval_s`` on a free lane, whether or not the last is done, as users click.

    One for which no lane is free has its wait counted, so a stall is not one slow exchange but many.
    """

    def __init__(self, lanes: Sequence[Lane], interval_s: float, fault: asyncio.Future[None]) -> None:
        self._free = deque(_Turn(lane, self._done) for lane in lanes)
        self._lanes = len(lanes)
        self._interval_s = interval_s
        self._fault = fault
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[int] = deque()  # times at which exchanges that wait for a lane should have begun
        self._latencies = array.array("q")
        self._until = 0.0
        self._beside: asyncio.Future[Any] | None = None
        self._finished: asyncio.Future[None] = self._loop.create_future()

    async def run(self, seconds: float, beside: asyncio.Future[Any] | None = None) -> Sample:
        """Run for ``seconds`` and at least until ``beside`` is done, then until all exchanges are. A loop runs once."""
        began = self._loop.time()
        self._until = began + seconds
        self._beside = beside
        self._tick(began)
        await until(self._finished, self._fault, seconds + _STUCK_AFTER_S)
        return Sample(len(self._latencies), self._loop.time() - began, self._latencies)

    def _tick(self, due: float) -> None:
        now = time.perf_counter_ns()
        if self._free:
            self._free.popleft().begin(now)
        else:
            self._waiting.append(now)
        due += self._interval_s
        if due < self._until or (self._beside is not None and not self._beside.done()):
            self._loop.call_at(due, self._tick, due)
        else:
            self._until = 0.0

    def _done(self, turn: _Turn) -> None:
        self._latencies.append(time.perf_counter_ns() - turn.began)
        if self._waiting:
            turn.begin(self._waiting.popleft())
            return
        self._free.append(turn)
        if not self._until and len(self._free) == self._lanes:
            self._finished.set_result(None)
