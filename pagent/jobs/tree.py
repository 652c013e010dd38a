"""The processes of one job.

A job's tree is all descendants of its supervisor (``jobs/keeper``). The supervisor is a subreaper, so this holds for
daemons as well, whatever they do. A process that does not descend from it does not belong to the job.

If the supervisor was killed, its processes have become children of the keeper (``jobs/trees.py``). Processes seen in
the tree before, its sessions, and a working folder in the sandbox then show which job a process belongs to.

Where there are no subreapers (macOS) daemons are found by the sessions of the job's processes alone.

Methods that look at processes may be called in any thread. They never read files that a process can block: its
environment, command line and memory map are guarded by a lock that it can keep for any time.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from pagent import limits
from pagent.jobs import portable
from pagent.jobs.supervision import Supervision, SupervisorEvent, next_supervision
from pagent.jobs.system import Process, System

if sys.platform == "linux":
    from pagent.jobs import procfs

    #: The process table of the system that we run on.
    NATIVE: System = procfs

    def become_subreaper(wanted: bool = True) -> bool:
        """Make this process a subreaper. Call it once, before the first job. Return False if the system has none."""
        return procfs.set_subreaper(wanted)
else:
    NATIVE = portable

    def become_subreaper(wanted: bool = True) -> bool:
        """Do nothing on this system."""
        return False


STOP: Final[int] = getattr(signal, "SIGSTOP", signal.SIGTERM)
KILL: Final[int] = getattr(signal, "SIGKILL", signal.SIGTERM)
_CONTINUE: Final[int | None] = getattr(signal, "SIGCONT", None)

#: Passes over the children of a supervisor: processes that lose their parent during the first one are found next.
_PASSES: Final = 3

Key = tuple[int, float]


def is_of_session(process: Process, started: float, system: System) -> bool:
    """Return whether the session of the process is the one whose leader started at ``started``.

    A session keeps its number while it has members. After that, a session with a younger leader may get the number.
    """
    leader = system.stat(process.session)
    return started == leader.started if leader is not None else started <= process.started


class Adopter(Protocol):
    """The interface of a tree to the processes of killed supervisors."""

    @property
    def system(self) -> System:
        """The process table."""
        ...

    def supervisor_was_killed(self) -> None:
        """Note the tree."""

    def adopted_of(self, tree: JobTree) -> list[Process]:
        """Return the processes of the tree that have no parent in the job any more."""
        ...


class JobTree:
    """The processes of one job. Made before its supervisor, and closed when the job is removed."""

    def __init__(self, uid: str, folder: Path, adopter: Adopter) -> None:
        # For life.
        self.uid: Final = uid
        self._folder = str(folder)
        self._adopter = adopter
        self._system = adopter.system
        #: Set at each event that the end of the tree depends on.
        self.news: Final = asyncio.Event()
        # Once it has begun.
        self.supervisor: Key | None = None
        self._supervision = Supervision.NONE
        #: No process of it is left.
        self.over = False
        #: The keeper that has forked the supervisor lives.
        self.kept = True
        self._sessions: dict[int, float] = {}
        self._seen: frozenset[Key] = frozenset()
        self._kill_group: Callable[[], None] | None = None
        self._on_end: Callable[[], None] | None = None

    # --- events -------------------------------------------------------------------------------------

    def grouped(self, kill: Callable[[], None]) -> None:
        """Note that the processes are in a group that ``kill`` kills at once."""
        self._kill_group = kill

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call back when no process is left, and when the remaining ones cannot be ended."""
        self._on_end = callback

    def ended(self) -> None:
        """Note that no process is left."""
        self.over = True
        self.news.set()
        self.given_up()

    def given_up(self) -> None:
        """Note that no more is done to end it."""
        if self._on_end is not None:
            self._on_end()

    def leads(self, pid: int, started: float) -> None:
        """Note a process of the job that leads a session."""
        self._sessions[pid] = started

    def supervisor_requested(self) -> None:
        """Note that a supervisor was requested."""
        self._supervise(SupervisorEvent.REQUESTED)

    def supervisor_started(self, key: Key) -> None:
        """Note the supervisor."""
        self.supervisor = key
        self._supervise(SupervisorEvent.STARTED)

    def supervisor_failed(self) -> None:
        """Note that there is no supervisor."""
        self._supervise(SupervisorEvent.FAILED)

    def supervisor_ended(self, *, empty: bool) -> None:
        """Note that the supervisor has reported that no process is left (``empty``), or that it was killed."""
        self._supervise(SupervisorEvent.ENDED if empty else SupervisorEvent.KILLED)
        if empty and self._system.has_subreapers():
            self.ended()
        else:
            if not empty:
                self._adopter.supervisor_was_killed()
            self.news.set()

    def _supervise(self, event: SupervisorEvent) -> None:
        """Change the state of the supervisor; nothing else does."""
        self._supervision = next_supervision(self._supervision, event)

    @property
    def supervised(self) -> bool:
        """Whether a supervisor will report the end of the tree, or the loss of its socket that it was killed."""
        return self._supervision in (Supervision.REQUESTED, Supervision.RUNNING)

    @property
    def lost(self) -> bool:
        """Whether the supervisor was killed."""
        return self._supervision is Supervision.KILLED

    # --- reading ------------------------------------------------------------------------------------

    def look(self, most: int | None = None) -> list[Process]:
        """Return the living processes, without the supervisor; some of them as soon as these are more than ``most``.

        OSError if the system has no descriptor left to look.
        """
        return self._look(self._root(), _PASSES, most)

    def _look(self, root: Process | None, passes: int, most: int | None) -> list[Process]:
        found: dict[int, Process] = {}
        if root is not None:
            for _ in range(passes):
                if not self._descend(self._system.children(root.pid), found, most):
                    break
        if root is None or self.lost or not self._system.has_subreapers():
            strays = [process.pid for process in self._strays()]
            self._descend(strays, found, most)
        self._seen = frozenset(process.key for process in found.values())
        return [process for process in found.values() if process.alive]

    def _root(self) -> Process | None:
        if self.supervisor is None:
            return None
        found = self._system.stat(self.supervisor[0])
        return found if found is not None and found.key == self.supervisor and found.alive else None

    def _descend(self, pids: Iterable[int], found: dict[int, Process], most: int | None) -> bool:
        """Add processes and their descendants. Return whether there were new ones."""
        before = len(found)
        queue = [*pids]
        while queue and (most is None or len(found) <= most):
            pid = queue.pop()
            if pid not in found and (process := self._system.stat(pid)) is not None:
                found[pid] = process
                queue += self._system.children(pid) if process.alive else ()
        return len(found) > before

    def _strays(self) -> list[Process]:
        if self.supervisor is None:
            return []
        if self._system.has_subreapers():
            return self._adopter.adopted_of(self)
        return [process for process in self._system.all_processes() if self.recognises(process)]

    def recognises(self, process: Process) -> bool:
        """Return whether a process that does not descend from the supervisor belongs to the job."""
        if process.key in self._seen or self._has(process):
            return True
        where = self._system.folder(process.pid)
        return where is not None and (where == self._folder or where.startswith(f"{self._folder}/"))

    def _has(self, process: Process) -> bool:
        """Return whether the process is in a session of the job."""
        started = self._sessions.get(process.session)
        return started is not None and is_of_session(process, started, self._system)

    def usage(self, most: int | None = None) -> tuple[float, int] | None:
        """Return CPU seconds and resident bytes of the processes, summed; None if there are more than ``most``.

        The seconds hold those of children that have ended and were reaped. One pass does: a process that loses its
        parent meanwhile is in the next figures.
        """
        root = self._root()
        members = self._look(root, 1, most)
        if most is not None and len(self._seen) > most:
            return None
        cpu_s = sum(process.cpu_s for process in members) + (root.cpu_s if root is not None else 0.0)
        return cpu_s, sum(process.rss_bytes for process in members)

    def listening(self) -> list[tuple[str, int]]:
        """Return the known addresses and TCP ports that processes of the job listen on. Blocking."""
        return sorted(set(self._system.listening([process.pid for process in self.look()])))

    def has(self, key: Key) -> bool:
        """Return whether the process still exists."""
        found = self._system.stat(key[0])
        return found is not None and found.key == key

    # --- signalling ---------------------------------------------------------------------------------

    def send(self, key: Key, number: int) -> bool:
        """Signal exactly this process; False if it is gone or not ours to signal."""
        return self._system.send(key, number)

    def signal(self, number: int, signalled: set[Key]) -> int:
        """Signal the processes that are not in ``signalled``, and add them. Return how many there are. Blocking."""
        for _ in range(_PASSES):
            members = self.look()
            fresh = [process for process in members if process.key not in signalled]
            for process in fresh:
                signalled.add(process.key)
                self.send(process.key, number)
                if process.state == "T" and _CONTINUE is not None:
                    self.send(process.key, _CONTINUE)  # a stopped process could not act on the signal
            if not fresh:
                break
        return len(members)

    def kill(self) -> int:
        """Kill the tree, also one that forks faster than it can be listed: stop all of it first. Blocking.

        Return how many processes were killed.
        """
        if self._kill_group is not None:
            self._kill_group()
        frozen: set[Key] = set()
        for _ in range(limits.FREEZE_ROUNDS):
            fresh = {process.key for process in self.look()} - frozen
            if not fresh:
                break
            for key in fresh:
                self.send(key, STOP)
            frozen |= fresh
        for key in frozen:
            self.send(key, KILL)
        return len(frozen)

    def kill_supervisor(self) -> None:
        """End a supervisor that does not answer. Its processes have been killed before."""
        if self.supervisor is not None:
            self.send(self.supervisor, KILL)
