"""What the jobs need to know and do about processes: one seam, with a module of functions for each system.

``procfs`` is Linux, by /proc and pidfds; ``portable`` any system, by psutil. Nothing else in the package looks
at a process table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol


class Process(NamedTuple):
    """A row of the process table. ``pid`` and ``started`` together name a process for ever."""

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
        """Do orphans of a supervisor's descendants become the supervisor's children?"""

    def adopts(self) -> bool:
        """Do orphans of our own descendants become our children?"""

    def boot_id(self) -> str:
        """Name what pids and start times are unique in: the present run of the system, and its table of processes."""

    def machine_id(self) -> str:
        """Name the machine, over its restarts."""

    def stat(self, pid: int) -> Process | None:
        """The process, None if there is none."""

    def children(self, pid: int) -> list[int]:
        """Its children, all its threads'."""

    def own_children(self) -> list[int]:
        """Our children, adopted ones and zombies included. Only where ``adopts()``."""

    def everyone(self) -> Iterable[Process]:
        """All processes. Slow."""

    def folder(self, pid: int) -> str | None:
        """Its working folder, None if there is no such process or the system does not tell."""

    def send(self, key: tuple[int, float], signal: int) -> bool:
        """Signal this very process, never another of the same pid. False if it is gone or may not be signalled."""

    def listening(self, pids: Iterable[int]) -> Iterable[tuple[str, int]]:
        """The addresses and TCP ports that the processes listen on, without what the system does not tell."""
