"""The process table of the system: one seam, with a module of functions for each system.

``procfs`` is Linux, by /proc and pidfds; ``portable`` is any system, by psutil. No other code of the package looks at a
process table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

#: Seconds between two checks of processes whose end is not reported, because their supervisor was killed.
EXIT_POLL_S: Final = 0.05


class Process(NamedTuple):
    """A row of the process table. ``pid`` and ``started`` together never name another process."""

    pid: int
    parent: int
    session: int
    #: R, S, D, T (stopped), Z (zombie), X, ...
    state: str
    #: In the system's own unit; only compared.
    started: float
    #: User and system time, children that were waited for included.
    cpu_s: float
    rss_bytes: int

    @property
    def key(self) -> tuple[int, float]:
        return self.pid, self.started

    @property
    def alive(self) -> bool:
        return self.state not in ("Z", "X")


class System(Protocol):
    """The functions of such a module."""

    def has_subreapers(self) -> bool:
        """Return whether orphans of a supervisor's descendants become the supervisor's children."""

    def adopts(self) -> bool:
        """Return whether orphans of our own descendants become our children."""

    def boot_id(self) -> str:
        """Return a name of the scope of pids and start times: this run of the system, and its table of processes."""

    def machine_id(self) -> str:
        """Return a name of the machine that outlives its restarts."""

    def stat(self, pid: int) -> Process | None:
        """Return the process, None if there is none."""

    def is_exiting(self, pid: int) -> bool:
        """Return whether the process has begun to exit, or is gone. Its connections are closed after that."""

    def children(self, pid: int) -> list[int]:
        """Return its children, of all its threads."""

    def own_children(self) -> list[int]:
        """Return our children, adopted ones and zombies included. Only where ``adopts()``."""

    def all_processes(self) -> Iterable[Process]:
        """Return all processes. Slow."""

    def folder(self, pid: int) -> str | None:
        """Return the working folder of a process; None if there is no such process or the system does not report it."""

    def send(self, key: tuple[int, float], signal: int) -> bool:
        """Signal this very process, never another of the same pid. False if it is gone or may not be signalled."""

    def listening(self, pids: Iterable[int]) -> Iterable[tuple[str, int]]:
        """Return the addresses and TCP ports that the processes listen on, as far as the system shows them."""
