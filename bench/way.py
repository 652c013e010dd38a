"""Ways to the job: what the loops of the load generator drive, and what workloads are written to."""

from __future__ import annotations

import array
import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Fault(Exception):
    """An exchange that did not go as it should: a measurement with one in it is worth nothing."""


class Lane(Protocol):
    """One exchange at a time, again and again: a request and its answer, a message and its echo."""

    done: Callable[[], None]

    def send(self) -> None:
        """Begin one; ``done`` is called from a later callback, when it is complete."""


class Way(Protocol):
    """How the load generator reaches the job.

    ``pid``: whose CPU time is taken; ``job_pid``: the job that it leads to.
    """

    name: str
    pid: int
    job_pid: int
    fault: asyncio.Future[None]

    async def get(self, size: int, *, varied: bool = False) -> Lane:
        """GET of a body of ``size`` bytes; ``varied``: no two requests are the same, nor two answers."""

    async def put(self, size: int, rate: float | None = None) -> Lane:
        """POST of one, at ``rate`` bytes a second at most."""

    async def echo(self, size: int) -> Lane:
        """An open WebSocket; messages of ``size`` bytes and their echoes."""

    async def events(self, seen: Callable[[int], None]) -> Callable[[], None]:
        """The job's events until what is returned is called: ``seen`` gets the time at which the job wrote each."""

    async def file_get(self, size: int) -> Lane:
        """Download of a file of the sandbox; what has no sandbox takes ``get`` for a comparison."""

    async def file_put(self, size: int) -> Lane:
        """Upload of one."""

    def close(self) -> None:
        """Drop all connections; what happens from now on is no fault."""


@dataclass
class Sample:
    """One round: ``units`` of work in ``seconds``. ``cost`` is given where it is not CPU time by unit.

    ``extra``: further figures by name, for a workload that is about more than one.
    """

    units: float
    seconds: float
    latencies_ns: array.array[int] = field(default_factory=lambda: array.array("q"))
    cost: float | None = None
    extra: dict[str, float] = field(default_factory=dict)


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
