"""What the jobs need to know and do about processes: one seam, a module of functions per system behind it.

``procfs`` is Linux, by /proc and pidfds; ``portable`` any system, by psutil. Nothing else in the package looks
at a process table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

#: Environment variable that every process of a job inherits: the job's uid. An agent that is itself a job puts
#: its own mark before those of its jobs, with a colon between.
MARK = "PAGENT_JOB_MARK"


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

    def adopts(self) -> bool:
        """Do orphans of our descendants become our children, and does the system list children?"""

    def now(self) -> float:
        """The present in the unit of ``Process.started``."""

    def boot_id(self) -> str:
        """Names the present run of the system: pids and start times of another one mean nothing."""

    def stat(self, pid: int) -> Process | None:
        """The process, None if there is none."""

    def children(self, pid: int) -> list[int]:
        """Its children, all its threads'."""

    def own_children(self) -> list[int]:
        """Our children, adopted ones and zombies included. Only where ``adopts()``."""

    def everyone(self) -> Iterable[Process]:
        """All processes. Slow."""

    def mark(self, pid: int) -> str | None:
        """Its MARK variable, empty if it has none or may not be asked; None if it has no environment at all.

        Nothing has one for a moment while it executes a program: look again then.
        """

    def send(self, process: Process, signal: int) -> bool:
        """Signal this very process, never another of the same pid. False if it is gone or may not be signalled."""

    def exit_descriptor(self, process: Process) -> int | None:
        """A descriptor that becomes readable when the process ends, -1 if it is gone, None if there is no such thing.

        The caller closes it.
        """

    def listens(self, port: int, pids: Iterable[int]) -> bool | None:
        """Does one of the processes listen on this TCP port? None if the system does not tell."""

    def listening(self, pids: Iterable[int]) -> Iterable[tuple[str, int]]:
        """The addresses and TCP ports that the processes listen on, without what the system does not tell."""

    def sacrifice(self, pid: int) -> None:
        """Let the kernel pick this process before us when memory runs out, where there is such a thing."""
