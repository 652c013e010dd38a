"""Whose a process is: the rules on a process table of our own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pagent.jobs.system import Process
from pagent.jobs.tree import KILL, STOP, JobTree, Trees

AGENT = os.getpid()
KEEPER = 2


@dataclass
class Table:
    """A system as its kernel would show it; `AGENT` is our own process."""

    subreapers: bool = True
    clock: float = 100.0
    processes: dict[int, Process] = field(default_factory=dict)
    folders: dict[int, str] = field(default_factory=dict)
    sent: list[tuple[int, int]] = field(default_factory=list)
    on_send: Any = None

    def add(self, pid: int, parent: int, *, session: int = 0, state: str = "S", folder: str = "/") -> Process:
        process = Process(pid, parent, session or pid, state, self.clock, 1.5, 1000)
        self.processes[pid] = process
        self.folders[pid] = folder
        return process

    def orphan(self, pid: int, parent: int) -> None:
        self.processes[pid] = self.processes[pid]._replace(parent=parent)

    # --- System -------------------------------------------------------------------------------------

    def has_subreapers(self) -> bool:
        return self.subreapers

    def adopts(self) -> bool:
        return self.subreapers

    def boot_id(self) -> str:
        return "boot"

    def machine_id(self) -> str:
        return "machine"

    def stat(self, pid: int) -> Process | None:
        return self.processes.get(pid)

    def children(self, pid: int) -> list[int]:
        return [process.pid for process in self.processes.values() if process.parent == pid]

    def own_children(self) -> list[int]:
        return self.children(AGENT)

    def everyone(self) -> Iterable[Process]:
        return list(self.processes.values())

    def folder(self, pid: int) -> str | None:
        return self.folders.get(pid)

    def send(self, key: tuple[int, float], signal: int) -> bool:
        self.sent.append((key[0], signal))
        if self.on_send is not None:
            self.on_send(key[0], signal)
        return True

    def listening(self, pids: Iterable[int]) -> Iterable[tuple[str, int]]:
        return [("127.0.0.1", pid) for pid in pids]


@pytest.fixture
def table() -> Table:
    return Table()


def new_trees(table: Table, *, is_init: bool = False) -> Trees:
    trees = Trees(table, is_init=is_init)
    trees.keepers.add(KEEPER)
    table.add(KEEPER, AGENT)
    return trees


@pytest.fixture
def trees(table: Table) -> Trees:
    return new_trees(table)


def start(trees: Trees, table: Table, uid: str, pid: int) -> JobTree:
    """A job whose supervisor is `pid`, and its main process the next one."""
    table.clock += 10
    tree = trees.new(uid, Path("/root") / uid)
    tree.supervisor = table.add(pid, KEEPER, session=KEEPER).key
    tree.leads(*table.add(pid + 1, pid).key)
    return tree


def kill_supervisor(tree: JobTree, table: Table) -> None:
    assert tree.supervisor is not None
    pid = tree.supervisor[0]
    for child in table.children(pid):
        table.orphan(child, AGENT)
    del table.processes[pid]
    tree.supervisor_ended(empty=False)


def pids(processes: Iterable[Process]) -> list[int]:
    return sorted(process.pid for process in processes)


def test_what_descends_from_the_supervisor(trees: Trees, table: Table) -> None:
    a, b = start(trees, table, "a", 10), start(trees, table, "b", 20)
    table.add(12, 11)
    table.add(13, 10)  # lost its parent
    table.add(14, 13, state="Z")
    assert pids(a.look()) == [11, 12, 13]
    assert pids(b.look()) == [21]
    assert a.usage() == (6.0, 3000)  # with the supervisor's seconds
    assert a.usage(2) is None
    assert a.listening() == [("127.0.0.1", 11), ("127.0.0.1", 12), ("127.0.0.1", 13)]


def test_nothing_else_is_a_jobs(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    table.add(30, AGENT)
    table.add(31, AGENT, session=11, folder="/root/a")
    assert pids(a.look()) == [11]
    assert trees.unclaimed() == []


def test_a_supervisor_whose_pid_is_used_again(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    del table.processes[11]
    table.clock += 10
    table.add(10, 1)
    table.add(12, 10)
    assert a.look() == []
    assert not a.supervised


def test_the_end_is_told(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    a.supervisor_ended(empty=True)
    assert (a.over, a.lost, a.news.is_set()) == (True, False, True)


def test_a_killed_supervisors_processes_come_to_the_agent(trees: Trees, table: Table) -> None:
    a, b = start(trees, table, "a", 10), start(trees, table, "b", 20)
    table.add(12, 10)
    table.add(13, 12)
    kill_supervisor(a, table)
    assert not a.over
    assert pids(a.look()) == [11, 12, 13]
    assert pids(b.look()) == [21]
    table.add(14, AGENT, state="S")  # a later orphan of its
    assert pids(a.look()) == [11, 12, 13, 14]


def test_which_of_two_killed_supervisors_it_was(trees: Trees, table: Table) -> None:
    a, b = start(trees, table, "a", 10), start(trees, table, "b", 20)
    for pid, parent in ((12, 10), (13, 11), (22, 20), (23, 20), (24, 20)):
        table.add(pid, parent)
    table.add(14, 10, session=11)
    table.folders[23] = "/root/b/deep"
    a.look()
    kill_supervisor(a, table)
    kill_supervisor(b, table)
    # Known from before, of the session of a main process, in a sandbox. The last one can be either's.
    assert pids(a.look()) == [11, 12, 13, 14]
    assert pids(b.look()) == [21, 23]
    trees.closed("a")
    for pid in (11, 12, 13, 14):
        del table.processes[pid]
    assert pids(b.look()) == [21, 22, 23, 24]
    assert trees.unclaimed() == []
    trees.closed("b")
    assert pids(trees.unclaimed()) == [21, 22, 23, 24]


def test_the_first_process_of_a_system_is_sure_of_what_it_knows_only(table: Table) -> None:
    trees = new_trees(table, is_init=True)
    a = start(trees, table, "a", 10)
    table.add(12, 10)
    trees.note()
    table.add(13, 10)
    table.add(14, 10, folder="/root/a")
    kill_supervisor(a, table)
    table.add(30, AGENT)
    assert pids(a.look()) == [11, 12, 14]
    trees.closed("a")
    assert trees.unclaimed() == []


def test_children_that_the_agent_had_before_are_no_jobs(table: Table) -> None:
    table.add(5, AGENT)
    trees = new_trees(table)
    a = start(trees, table, "a", 10)
    kill_supervisor(a, table)
    assert pids(a.look()) == [11]


def test_orphans_of_children_that_the_agent_had_before_are_no_jobs(table: Table) -> None:
    table.add(5, AGENT)
    trees = new_trees(table)
    a = start(trees, table, "a", 10)
    table.add(12, 10)
    trees.note()
    kill_supervisor(a, table)
    table.add(6, AGENT)  # a daemon that 5 has started
    assert pids(a.look()) == [11, 12]
    trees.closed("a")
    assert trees.unclaimed() == []


def test_a_session_whose_number_is_used_again_is_not_the_jobs(trees: Trees, table: Table) -> None:
    a, b = start(trees, table, "a", 10), start(trees, table, "b", 20)
    for tree in (a, b):
        kill_supervisor(tree, table)
    del table.processes[11]
    table.clock += 10
    table.add(11, AGENT, session=11)
    table.add(12, AGENT, session=11)
    assert pids(a.look()) == []


def test_a_killed_supervisor_is_news(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    a.supervisor_ended(empty=True)
    assert not trees.news.is_set()
    b = start(trees, table, "b", 20)
    table.add(22, 20)
    kill_supervisor(b, table)
    assert trees.news.is_set()
    trees.note()  # while it can only be the job's
    c = start(trees, table, "c", 30)
    kill_supervisor(c, table)
    assert pids(b.look()) == [21, 22]


def test_a_supervisor_whose_keeper_was_killed_is_no_jobs(trees: Trees, table: Table) -> None:
    a, b = start(trees, table, "a", 10), start(trees, table, "b", 20)
    table.orphan(20, AGENT)
    kill_supervisor(a, table)
    assert pids(a.look()) == [11]
    assert pids(b.look()) == [21]


def test_kill_stops_what_forks_meanwhile(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    forked = iter([12, 13, 14])

    def fork(pid: int, signal: int) -> None:
        if signal == STOP and (child := next(forked, None)) is not None:
            table.add(child, pid)

    table.on_send = fork
    assert a.kill() == 4
    assert sorted(pid for pid, signal in table.sent if signal == KILL) == [11, 12, 13, 14]
    first_kill = next(index for index, (_, signal) in enumerate(table.sent) if signal == KILL)
    assert all(signal == STOP for _, signal in table.sent[:first_kill])


def test_kill_goes_to_a_group_first(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    told: list[str] = []
    a.grouped(lambda: told.append("group"))
    table.on_send = lambda pid, signal: told.append("one")
    a.kill()
    assert told == ["group", "one", "one"]


def test_each_is_signalled_once(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    table.add(12, 11, state="T")
    told: set[tuple[int, float]] = set()
    assert a.signal(15, told) == 2
    assert sorted(table.sent) == [(11, 15), (12, 15), (12, 18)]
    table.add(13, 11)
    assert a.signal(15, told) == 3
    assert table.sent[3:] == [(13, 15)]


def test_without_subreapers_sessions_are_searched() -> None:
    table = Table(subreapers=False)
    trees = new_trees(table)
    a, b = start(trees, table, "a", 10), start(trees, table, "b", 20)
    table.add(12, 1, session=11)
    table.add(13, 12)
    table.add(14, 1)  # a stranger
    assert pids(a.look()) == [11, 12, 13]
    a.supervisor_ended(empty=True)
    assert not a.over
    del table.processes[10]
    table.orphan(11, 1)
    assert pids(a.look()) == [11, 12, 13]
    assert not a.supervised
    assert pids(b.look()) == [21]
