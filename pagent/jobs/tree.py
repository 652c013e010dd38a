"""Which processes belong to which job.

A job's tree is what descends from its supervisor (``jobs/keeper.py``). The supervisor is a subreaper, so this holds for
daemons as well, whatever they do. A process that does not descend from it is none of the job's.

Only where a supervisor was killed its processes have to be recognised. They become children of the agent, which is a
subreaper too. What was seen of the tree before, its sessions and a working folder in the sandbox tell whose they are;
and unless the agent is the first process of its system, where the orphans of all others come to as well, or the
program that became the agent had children, whose orphans do, they can only be of a job whose supervisor was killed.

Where there are no subreapers (macOS) daemons are found by the sessions of the job's processes alone.

Methods that look at processes may be called in any thread. They never read what a process can hold back: its
environment, command line and memory map are guarded by a lock that it can keep for ever.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pagent import limits
from pagent.jobs import portable
from pagent.jobs.system import Process, System

if sys.platform == "linux":
    from pagent.jobs import procfs

    #: The process table of the system that we run on.
    NATIVE: System = procfs

    def become_subreaper(wanted: bool = True) -> bool:
        """Once per agent process, before the first job: see above. False where that does not exist."""
        return procfs.set_subreaper(wanted)
else:
    NATIVE = portable

    def become_subreaper(wanted: bool = True) -> bool:
        """Nothing on this system."""
        return False


STOP: Final[int] = getattr(signal, "SIGSTOP", signal.SIGTERM)
KILL: Final[int] = getattr(signal, "SIGKILL", signal.SIGTERM)
_CONTINUE: Final[int | None] = getattr(signal, "SIGCONT", None)

#: Passes over the children of a supervisor: what loses its parent during the first one comes there.
_PASSES: Final = 3

Key = tuple[int, float]


def is_of_session(process: Process, started: float, system: System) -> bool:
    """Is the session of this number that the process is in the one whose leader started then?

    A session keeps its number while it has members. Once the last has ended another may have it, with a younger leader.
    """
    leader = system.stat(process.session)
    return started == leader.started if leader is not None else started <= process.started


class JobTree:
    """The processes of one job. Made before its supervisor, and closed when the job is gone."""

    def __init__(self, uid: str, folder: Path, trees: Trees) -> None:
        # For life.
        self.uid: Final = uid
        self._folder = str(folder)
        self._trees = trees
        self._system = trees.system
        #: Set when something has happened that its end depends on.
        self.news: Final = asyncio.Event()
        # Once it has begun.
        self.supervisor: Key | None = None
        #: No process of it is left.
        self.over = False
        #: The supervisor was killed.
        self.lost = False
        #: At the last look there was a supervisor, which tells of the end.
        self.supervised = True
        self._sessions: dict[int, float] = {}
        self._seen: frozenset[Key] = frozenset()
        self._kill_group: Callable[[], None] | None = None
        self._on_end: Callable[[], None] | None = None

    # --- what is told of it -------------------------------------------------------------------------

    def grouped(self, kill: Callable[[], None]) -> None:
        """Note that the processes are in a group that ``kill`` kills at once."""
        self._kill_group = kill

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call back when no process is left, and when those that are left cannot be ended."""
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

    def supervisor_ended(self, *, empty: bool) -> None:
        """``empty``: it has said that no process is left; otherwise it was killed."""
        if empty and self._system.has_subreapers():
            self.ended()
        else:
            self.lost = not empty
            if self.lost:
                self._trees.supervisor_was_killed()
            self.news.set()

    # --- what there is ------------------------------------------------------------------------------

    def look(self, most: int | None = None) -> list[Process]:
        """Return the living processes, without the supervisor; some of them as soon as these are more than ``most``.

        OSError if the system has no descriptor left to look.
        """
        found: dict[int, Process] = {}
        root = self._root()
        self.supervised = root is not None
        if root is not None:
            for _ in range(_PASSES):
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
        """Add processes and their descendants. Were there any new ones?"""
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
        if self._system.adopts():
            return [process for process in self._trees.adopted() if self._trees.owner(process) is self]
        return [process for process in self._system.everyone() if self.recognises(process)]

    def recognises(self, process: Process) -> bool:
        """Is the process, which does not descend from the supervisor, one of the job's?"""
        if process.key in self._seen or self._has(process):
            return True
        where = self._system.folder(process.pid)
        return where is not None and (where == self._folder or where.startswith(f"{self._folder}/"))

    def _has(self, process: Process) -> bool:
        """Is it in a session of the job?"""
        started = self._sessions.get(process.session)
        return started is not None and is_of_session(process, started, self._system)

    def usage(self, most: int | None = None) -> tuple[float, int] | None:
        """Return CPU seconds and resident bytes of the processes, summed; None if there are more than ``most``.

        The seconds hold those of children that have ended and were reaped.
        """
        members = self.look(most)
        if most is not None and len(self._seen) > most:
            return None
        root = self._root()
        cpu_s = sum(process.cpu_s for process in members) + (root.cpu_s if root is not None else 0.0)
        return cpu_s, sum(process.rss_bytes for process in members)

    def listening(self) -> list[tuple[str, int]]:
        """The addresses and TCP ports that processes of the job listen on, as far as that can be known. Blocking."""
        return sorted(set(self._system.listening([process.pid for process in self.look()])))

    def has(self, key: Key) -> bool:
        """Is there still this process?"""
        found = self._system.stat(key[0])
        return found is not None and found.key == key

    # --- what is done to it -------------------------------------------------------------------------

    def send(self, key: Key, number: int) -> bool:
        """Signal exactly this process; False if it is gone or not ours to signal."""
        return self._system.send(key, number)

    def signal(self, number: int, told: set[Key]) -> int:
        """Signal the processes that are not among ``told``, and add them. Return how many there are. Blocking."""
        for _ in range(_PASSES):
            members = self.look()
            fresh = [process for process in members if process.key not in told]
            for process in fresh:
                told.add(process.key)
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


class Trees:
    """The trees of all jobs of one agent, and the children that come to the agent itself."""

    def __init__(self, system: System = NATIVE, *, is_init: bool | None = None) -> None:
        # For life.
        self.system: Final = system
        self._is_init = os.getpid() == 1 if is_init is None else is_init
        self._session = os.getsid(0) if hasattr(os, "getsid") else 0
        self._before = self._children_before()
        #: May children come to the agent that are no job's? Then each has to be recognised.
        self._strangers = self._is_init or bool(self._before)
        # While the agent runs.
        self._trees: dict[str, JobTree] = {}
        #: Sessions of keepers, which supervisors are in as well.
        self.keepers: Final[set[int]] = set()
        #: Children that somebody waits for.
        self.awaited: Final[set[int]] = set()
        #: Was a supervisor ever killed? Only then jobs' processes come to the agent.
        self.supervisor_lost = False
        #: Set when one was, for whoever calls :meth:`note`.
        self.news: Final = asyncio.Event()

    def _children_before(self) -> frozenset[Key]:
        """Children that the program had which became this agent by exec."""
        if not self.system.adopts():
            return frozenset()
        found = (self.system.stat(pid) for pid in self.system.own_children())
        return frozenset(process.key for process in found if process is not None)

    def new(self, uid: str, folder: Path) -> JobTree:
        """The tree of a job that is about to be started."""
        tree = self._trees[uid] = JobTree(uid, folder, self)
        return tree

    def of(self, uid: str) -> JobTree:
        """The tree of a job; an empty one if it was not started."""
        return self._trees.get(uid) or JobTree(uid, Path(), self)

    def supervisor_was_killed(self) -> None:
        """The processes of its job come to the agent; whose they are is seen best before the next is killed."""
        self.supervisor_lost = True
        self.news.set()

    def closed(self, uid: str) -> None:
        """The job is gone."""
        self._trees.pop(uid, None)

    @property
    def adopts(self) -> bool:
        """Can a process that has lost its parent have become the agent's child?"""
        return self.system.adopts() and (self._strangers or self.supervisor_lost or len(self.keepers) > 1)

    def adopted(self) -> list[Process]:
        """Living children that the agent did not start. Those that are dead are reaped."""
        found = []
        for pid in self.system.own_children():
            process = self.system.stat(pid)
            if process is None or process.key in self._before or pid in self.keepers:
                continue
            if process.session == self._session and not self._is_init:  # of the program that the agent is a part of
                continue
            if not process.alive:
                self._reap(pid)
            elif process.session not in self.keepers:  # no supervisor, whose keeper was killed
                found.append(process)
        return found

    def _reap(self, pid: int) -> None:
        if pid not in self.awaited:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def owner(self, process: Process) -> JobTree | None:
        """The job that an adopted process belongs to."""
        lost = [tree for tree in list(self._trees.values()) if tree.lost and not tree.over]
        for tree in lost:
            if tree.recognises(process):
                return tree
        return lost[0] if len(lost) == 1 and not self._strangers else None

    def unclaimed(self) -> list[Process]:
        """Adopted processes that are of jobs, but of none that there still is. Blocking."""
        if not self.adopts:
            return []
        adopted = self.adopted()
        if self._strangers or not self.supervisor_lost or any(tree.lost for tree in list(self._trees.values())):
            return []
        return adopted

    def note(self) -> None:
        """Remember the processes of all trees, in case that a supervisor is killed. Blocking."""
        for tree in list(self._trees.values()):
            with suppress(OSError):
                tree.look()
