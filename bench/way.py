"""Ways to the job, and the loop that keeps exchanges in flight on them: the load generator, less its bytes."""

from __future__ import annotations

import array
import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

#: A closed loop that has not come to its end so long after it should have is stuck.
_STUCK_AFTER_S: Final = 60.0


class Fault(Exception):
    """An exchange that did not go as it should: a measurement with one in it is worth nothing."""


class Lane(Protocol):
    """One exchange at a time, again and again: a request and its answer, a message and its echo."""

    done: Callable[[], None]

    def send(self) -> None:
        """Begin one; ``done`` is called from a later callback, when it is complete."""


class Way(Protocol):
    """How the load generator reaches the job, and whose CPU time is taken."""

    name: str
    pid: int
    fault: asyncio.Future[None]

    async def get(self, size: int) -> Lane:
        """GET of a body of ``size`` bytes."""

    async def put(self, size: int, rate: float | None = None) -> Lane:
        """POST of one, at ``rate`` bytes a second at most."""

    async def echo(self, size: int) -> Lane:
        """An open WebSocket; messages of ``size`` bytes and their echoes."""

    async def events(self, seen: Callable[[int], None]) -> None:
        """The job's events until the way is closed: ``seen`` gets the time at which the job wrote each."""

    async def tunnel_get(self, size: int) -> Lane:
        """As ``get``, through a tunnel that carries one request."""

    async def tunnel_put(self, size: int) -> Lane:
        """As ``put``, through one."""

    async def file_get(self, size: int) -> Lane:
        """Download of a file of the sandbox; what has no sandbox takes ``get`` for a comparison."""

    async def file_put(self, size: int) -> Lane:
        """Upload of one."""

    async def job_cycle(self) -> Lane:
        """A process from its creation to its removal."""


@dataclass
class Sample:
    """One round: ``units`` of work in ``seconds``. ``cost`` is given where it is not CPU time by unit."""

    units: float
    seconds: float
    latencies_ns: array.array[int] = field(default_factory=lambda: array.array("q"))
    cost: float | None = None


class ClosedLoop:
    """Keeps one exchange in flight on every lane: the next begins when the last is done."""

    def __init__(self, lanes: Sequence[Lane], fault: asyncio.Future[None]) -> None:
        self._lanes = lanes
        self._fault = fault

    async def run(self, seconds: float) -> Sample:
        """For so long, and until all that has begun is done; at least one exchange a lane.

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


async def until(wanted: asyncio.Future[None], fault: asyncio.Future[None], timeout: float) -> None:
    """Wait for what is wanted. Fault if that comes first, or neither comes in time."""
    await asyncio.wait((wanted, fault), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    if fault.done():
        fault.result()
    if not wanted.done():
        raise Fault(f"nothing came for {timeout:.0f} s")
    wanted.result()


def idle() -> None:
    """``done`` of a lane that is in no loop."""
