"""Which processes belong to which job.

A job's tree is what descends from its main process. What loses its parent becomes the agent's own child if the
agent is a *subreaper* (:func:`become_subreaper`), daemons included, so two short lists hold all trees: the
main processes, and the agent's children that it did not start, called adopted. An adopted process belongs to the
job whose mark stands in its environment, or once stood there; one without a mark to the job that alone can have
started it.

Elsewhere (no subreaper, not Linux) all processes are searched for the mark and for the job's session.

Methods may be called in any thread.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from pagent import limits
from pagent.jobs import portable
from pagent.jobs.system import MARK, Process, System

if sys.platform == "linux":
    from pagent.jobs import procfs

    #: The process table of the system that we run on.
    NATIVE: System = procfs

    def become_subreaper(wanted: bool = True) -> bool:
        """Once per agent process, before the first job: see above. False where that does not exist.

        From then on every child in another session than the agent's that the agent did not have before is
        taken for one of a job. It is not for programs that start such children for themselves.
        """
        return procfs.set_subreaper(wanted)
else:
    NATIVE = portable

    def become_subreaper(wanted: bool = True) -> bool:
        """Nothing on this system."""
        return False


#: The owner of adopted processes that can be nobody's any more.
UNCLAIMED: Final = ""
#: The owner of those that may be one of several jobs', and of those that have to be looked at again.
_AMBIGUOUS: Final = "?"
_UNSURE: Final = "..."

STOP: Final[int] = getattr(signal, "SIGSTOP", signal.SIGTERM)
KILL: Final[int] = getattr(signal, "SIGKILL", signal.SIGTERM)


def new_mark(uid: str) -> str:
    """The value of MARK for a job of ours; the marks that we inherited stay in front."""
    inherited = os.environ.get(MARK)
    return f"{inherited}:{uid}" if inherited else uid


class Forest:
    """The trees of all jobs of one agent."""

    def __init__(self, system: System = NATIVE) -> None:
        self._system = system
        # Main processes that we have not reaped: their pids cannot be another's.
        self._roots: dict[int, tuple[str, Process]] = {}
        # Sessions of main processes, the ended ones included.
        self._sessions: dict[str, dict[int, float]] = {}
        self._known: set[str] = set()
        # Jobs that may have a living process, and since when.
        self._since: dict[str, float] = {}
        self._spawning = 0
        # What was found to be a job's stays its: while a process executes a program no mark can be read.
        self._claimed: dict[str, set[tuple[int, float]]] = {}
        # Kills all of a job at once, where there is such a thing.
        self._groups: dict[str, Callable[[], None]] = {}
        # Adopted processes that had no environment at the last look.
        self._bare: set[tuple[int, float]] = set()
        self._before = self._children_before()

    def _children_before(self) -> frozenset[tuple[int, float]]:
        """What is already there was the doing of whoever became this agent by exec."""
        if not self._system.adopts():
            return frozenset()
        found = (self._system.stat(pid) for pid in self._system.own_children())
        return frozenset(process.key for process in found if process is not None)

    # --- what the agent starts --------------------------------------------------------------------

    @contextmanager
    def spawning(self, uid: str) -> Iterator[None]:
        """While a process of the job is being started and its pid is not known yet."""
        # One unit earlier: the clocks of the two may be rounded differently.
        self._since.setdefault(uid, self._system.now() - 1)
        self._known.add(uid)
        self._spawning += 1
        try:
            yield
        finally:
            self._spawning -= 1

    def grouped(self, uid: str, kill: Callable[[], None]) -> None:
        """The job's processes are kept in a group that can be killed as one."""
        self._groups[uid] = kill

    def born(self, uid: str, pid: int) -> Process | None:
        """A main process was started. None if it has ended and been reaped already."""
        process = self._system.stat(pid)
        if process is not None:
            self._roots[pid] = (uid, process)
            self._sessions.setdefault(uid, {})[pid] = process.started
        return process

    def died(self, pid: int) -> None:
        """A main process was reaped: its pid may be another's from now on."""
        self._roots.pop(pid, None)

    def ended(self, uid: str) -> None:
        """The job's tree has ended: it starts nothing any more."""
        self._since.pop(uid, None)

    def closed(self, uid: str) -> None:
        """The job is gone: what still has its mark is UNCLAIMED."""
        self.ended(uid)
        self._known.discard(uid)
        self._sessions.pop(uid, None)
        self._claimed.pop(uid, None)
        self._groups.pop(uid, None)

    # --- what there is ----------------------------------------------------------------------------

    def members(self, uid: str) -> list[Process]:
        """The living processes of a job, or of UNCLAIMED. OSError if the system has no descriptor left to look."""
        return self.look(uid)[0]

    def look(self, uid: str) -> tuple[list[Process], bool]:
        """The members, and whether these are all: False if that can only be known a moment later."""
        found: dict[int, Process] = {}
        for pid, (owner, root) in list(self._roots.items()):
            if owner == uid and (process := self._system.stat(pid)) is not None and process.started == root.started:
                self._descend(process, found)
        # Last, since what loses its parent meanwhile comes here.
        complete = True
        if self._system.adopts():
            owners = self._adopted_by()
            complete = _UNSURE not in owners
            for process in owners.get(uid, ()):
                self._descend(process, found)
        elif uid != UNCLAIMED:
            for process in self._search(uid):
                self._descend(process, found)
        if uid in self._known:
            self._claimed[uid] = {process.key for process in found.values()}
        return [process for process in found.values() if process.alive], complete

    def adopters(self) -> set[str]:
        """The jobs that have adopted processes, UNCLAIMED among them. Reaps the dead ones."""
        return set(self._adopted_by()) - {_UNSURE, _AMBIGUOUS} if self._system.adopts() else set()

    def _descend(self, process: Process, found: dict[int, Process]) -> None:
        queue = [process]
        while queue:
            process = queue.pop()
            if process.pid in found:
                continue
            found[process.pid] = process
            for pid in self._system.children(process.pid) if process.alive else ():
                child = self._system.stat(pid)
                if child is not None:
                    queue.append(child)

    def _adopted(self) -> Iterator[Process]:
        """Living children that are not ours by birth; dead ones are reaped, each by its own pid."""
        session = os.getsid(0)
        for pid in self._system.own_children():
            if pid in self._roots:
                continue
            process = self._system.stat(pid)
            if process is None or process.session == session or process.key in self._before:
                continue
            if process.alive:
                yield process
            elif self._spawning == 0:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _adopted_by(self) -> dict[str, list[Process]]:
        """Adopted processes by the job that they belong to, or by one of the other owners."""
        owners: dict[str, list[Process]] = {}
        bare: set[tuple[int, float]] = set()
        for process in self._adopted():
            owners.setdefault(self._owner(process, bare), []).append(process)
        self._bare = bare
        return owners

    def _owner(self, process: Process, bare: set[tuple[int, float]]) -> str:
        for uid, claimed in list(self._claimed.items()):
            if process.key in claimed:
                return uid
        mark = self._system.mark(process.pid)
        if mark:
            return next((uid for uid in mark.split(":") if uid in self._known), UNCLAIMED)
        if mark is None:
            bare.add(process.key)
            if process.key not in self._bare:
                return _UNSURE
        candidates = [uid for uid, started in dict(self._since).items() if started <= process.started]
        if not candidates:
            return UNCLAIMED
        return candidates[0] if len(candidates) == 1 else _AMBIGUOUS

    def _search(self, uid: str) -> Iterator[Process]:
        sessions = dict(self._sessions.get(uid, {}))
        claimed = self._claimed.get(uid, set())
        roots = {pid for pid, (owner, _) in list(self._roots.items()) if owner != uid}
        for process in self._system.everyone():
            if process.pid in roots or process.pid == os.getpid():
                continue
            started = sessions.get(process.session)
            if (
                process.key in claimed
                # A session keeps its number while it has members; a younger leader is another session's.
                or (started is not None and (process.pid != process.session or process.started == started))
                or uid in (self._system.mark(process.pid) or "").split(":")
            ):
                yield process

    # --- what is done to it -----------------------------------------------------------------------

    def send(self, process: Process, number: int) -> bool:
        """Signal exactly this process; False if it is gone or not ours to signal."""
        return self._system.send(process, number)

    def kill(self, uid: str) -> list[Process] | None:
        """Kill a tree, also one that forks faster than it can be listed: stop all of it first.

        Returns what was killed, empty if nothing was left, None if that can only be known a moment later. Blocking,
        long for a very large tree.
        """
        if (kill_group := self._groups.get(uid)) is not None:
            kill_group()
        complete = True
        frozen: dict[tuple[int, float], Process] = {}
        for _ in range(limits.FREEZE_ROUNDS):
            members, complete = self.look(uid)
            fresh = [process for process in members if process.key not in frozen]
            if not fresh:
                break
            for process in fresh:
                self._system.send(process, STOP)
                frozen[process.key] = process
        for process in frozen.values():
            self._system.send(process, KILL)
        return list(frozen.values()) if frozen or complete else None

    def exit_descriptor(self, process: Process) -> int | None:
        """See ``System.exit_descriptor``."""
        return self._system.exit_descriptor(process)

    def usage(self, uid: str) -> tuple[float, int]:
        """CPU seconds and resident bytes of a job's living processes, summed."""
        members = self.members(uid)
        return sum(process.cpu_s for process in members), sum(process.rss_bytes for process in members)

    def listens(self, uid: str, port: int) -> bool | None:
        """Does a process of the job listen on the port? None if that cannot be known."""
        return self._system.listens(port, [process.pid for process in self.members(uid)])

    def listening(self, uid: str) -> list[tuple[str, int]]:
        """The addresses and TCP ports that processes of the job listen on, as far as that can be known."""
        return sorted(set(self._system.listening([process.pid for process in self.members(uid)])))

    def sacrifice(self, pid: int) -> None:
        """See ``System.sacrifice``."""
        self._system.sacrifice(pid)
