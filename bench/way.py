"""The interfaces between workloads and loops: lanes, and ways to the job."""

from __future__ import annotations

import array
import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Fault(Exception):
    """An exchange failed, which makes its measurement invalid."""


class Lane(Protocol):
    """Makes one exchange after the other: a request and its answer, or a message and its echo."""

    done: Callable[[], None]

    def send(self) -> None:
        """Begin an exchange. ``done`` is called from a later callback, when it is complete."""


class Way(Protocol):
    """How the load generator reaches the job.

    ``pids``: the processes on the way, in the order in which a request passes them; their CPU time is taken.
    ``job_pid``: the job that it leads to.
    """

    name: str
    pids: tuple[int, ...]
    job_pid: int
    fault: asyncio.Future[None]

    async def get(self, size: int, *, varied: bool = False) -> Lane:
        """Return a lane of GETs of a body of ``size`` bytes. ``varied``: no two requests or answers are the same."""

    async def put(self, size: int, rate: float | None = None) -> Lane:
        """Return a lane of POSTs, at most at ``rate`` bytes a second."""

    async def echo(self, size: int) -> Lane:
        """Return a lane on an open WebSocket, for messages of ``size`` bytes and their echoes."""

    async def events(self, seen: Callable[[int], None]) -> Callable[[], None]:
        """Receive the job's events until the returned function is called.

        ``seen`` gets the time at which each was written.
        """

    async def file_get(self, size: int) -> Lane:
        """Return a lane of downloads of a file of the sandbox. A way without a sandbox uses ``get`` instead."""

    async def file_put(self, size: int) -> Lane:
        """Return a lane of uploads of a file."""

    def close(self) -> None:
        """Drop all connections, and ignore faults from now on."""


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
    """Wait for a result. Raise the fault if it comes first, or Fault if neither comes in time."""
    await asyncio.wait((wanted, fault), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    if fault.done():
        fault.result()
    if not wanted.done():
        raise Fault(f"nothing came for {timeout:.0f} s")
    wanted.result()


def idle() -> None:
    """Serve as ``done`` of a lane that is in no loop."""
