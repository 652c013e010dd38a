"""The trees of all jobs of one agent, and the processes that killed supervisors leave.

Such processes become children of the keeper, which is a subreaper and starts nothing but supervisors. So a child of the
keeper that is no supervisor belongs to a job whose supervisor was killed. If several were, what each tree knows of
itself shows which one.

If the keeper was killed as well, they become children of the agent, which is a subreaper too. The agent can have other
children: as the first process of its system it gets the orphans of all others, and the program that became the agent
may have had some. A child of which it is not certain that it belongs to a job is never killed. As the next agent could
not find these processes by a supervisor or a keeper, such a job is ended at once.

Methods that look at processes may be called in any thread.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from pagent.jobs.system import Process, System
from pagent.jobs.tree import NATIVE, JobTree, Key


class Trees:
    """The trees of all jobs of one agent."""

    def __init__(self, system: System = NATIVE, *, is_init: bool | None = None) -> None:
        # For life.
        self.system: Final = system
        self._is_init = os.getpid() == 1 if is_init is None else is_init
        self._session = os.getsid(0) if hasattr(os, "getsid") else 0
        self._before = self._children_before()
        #: Can the agent get children that are no job's? Then each has to be recognised.
        self._has_others = self._is_init or bool(self._before)
        # While the agent runs.
        self._trees: dict[str, JobTree] = {}
        #: Pid of the keeper that lives; and of all, which are also the numbers of the sessions that supervisors are in.
        self._keeper: int | None = None
        self._keepers: set[int] = set()
        self._keeper_lost = False
        self._supervisor_lost = False
        #: Children of the agent that are waited for by their pids.
        self.awaited: Final[set[int]] = set()
        #: Set when a supervisor or a keeper was killed.
        self.news: Final = asyncio.Event()

    def _children_before(self) -> frozenset[Key]:
        """Return the children that the program had which became this agent by exec."""
        if not self.system.has_subreapers():
            return frozenset()
        found = (self.system.stat(pid) for pid in self.system.own_children())
        return frozenset(process.key for process in found if process is not None)

    # --- events -------------------------------------------------------------------------------------

    def new(self, uid: str, folder: Path) -> JobTree:
        """Return the tree of a job that is about to be started."""
        tree = self._trees[uid] = JobTree(uid, folder, self)
        return tree

    def of(self, uid: str) -> JobTree:
        """Return the tree of a job; an empty one if it was not started."""
        return self._trees.get(uid) or JobTree(uid, Path(), self)

    def closed(self, uid: str) -> None:
        """Forget the tree of a job that is removed."""
        self._trees.pop(uid, None)

    def keeper_started(self, pid: int) -> Key | None:
        """Note a new keeper. Return its key, None if it has ended already."""
        self._keeper = pid
        self._keepers.add(pid)
        found = self.system.stat(pid)
        return None if found is None else found.key

    def keeper_ended(self, pid: int) -> None:
        """Note that a keeper was killed: its supervisors become children of the agent."""
        if self._keeper == pid:
            self._keeper = None
        self._keeper_lost = True
        for tree in self._trees.values():
            tree.kept = tree.over
        self.news.set()

    def supervisor_was_killed(self) -> None:
        """Note that there are processes whose job is best recognised before the next supervisor is killed."""
        self._supervisor_lost = True
        self.news.set()

    # --- adopted processes --------------------------------------------------------------------------

    @property
    def needs_care(self) -> bool:
        """Whether there can be adopted processes, or zombies that the agent has to reap."""
        return self._supervisor_lost or self._keeper_lost or self._reaps

    @property
    def _reaps(self) -> bool:
        """Whether the agent can have children that it did not start."""
        return self.system.adopts() and (self._has_others or self._keeper_lost)

    def adopted(self) -> list[Process]:
        """Return the living children of the keeper and of the agent that were not started by these."""
        found = [] if self._keeper is None else self._children_of_keeper(self._keeper)
        return found + self._own_children() if self._reaps else found

    def _children_of_keeper(self, keeper: int) -> list[Process]:
        found = (self.system.stat(pid) for pid in self.system.children(keeper))
        return [process for process in found if process is not None and process.alive and process.session != keeper]

    def _own_children(self) -> list[Process]:
        """Return the living ones that the agent did not start; reap the dead ones."""
        found = []
        for pid in self.system.own_children():
            process = self.system.stat(pid)
            if process is None or process.key in self._before or pid in self._keepers:
                continue
            if process.session == self._session and not self._is_init:  # of the program that the agent is a part of
                continue
            if not process.alive:
                if pid not in self.awaited:
                    self.reap(pid)
            elif process.session not in self._keepers:  # no supervisor
                found.append(process)
        return found

    @staticmethod
    def reap(pid: int) -> int | None:
        """Return the status (waitpid(2)) of a child of the agent that has ended; None if there is no such child."""
        with suppress(ChildProcessError):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended != 0:
                return status
        return None

    def adopted_of(self, tree: JobTree) -> list[Process]:
        """Return the adopted processes that belong to a job."""
        return [process for process in self.adopted() if self._owner(process) is tree]

    def _owner(self, process: Process) -> JobTree | None:
        lost = [tree for tree in list(self._trees.values()) if tree.lost and not tree.over]
        for tree in lost:
            if tree.recognises(process):
                return tree
        return lost[0] if len(lost) == 1 and self._is_of_a_job(process) else None

    def _is_of_a_job(self, process: Process) -> bool:
        """Return whether an adopted process certainly belongs to a job."""
        return process.parent == self._keeper or not self._has_others

    def unclaimed(self) -> list[Process]:
        """Return the adopted processes that belong to jobs which are removed. Blocking."""
        if any(tree.lost for tree in list(self._trees.values())):
            return []  # it may be of that job
        return [process for process in self.adopted() if self._is_of_a_job(process)]

    def unkept(self) -> list[JobTree]:
        """Return the trees whose supervisor and keeper were killed."""
        return [tree for tree in list(self._trees.values()) if tree.lost and not tree.kept and not tree.over]

    def note(self) -> None:
        """Remember the processes of all trees, in case that a supervisor is killed. Blocking."""
        for tree in list(self._trees.values()):
            with suppress(OSError):
                tree.look()
