"""Whose a process is: the rules on a process table of our own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from pagent.jobs.system import Process
from pagent.jobs.tree import KILL, STOP, UNCLAIMED, Forest


@dataclass
class Table:
    """A system as its kernel would show it; `agent` is our own process."""

    subreaper: bool = True
    clock: float = 100.0
    processes: dict[int, Process] = field(default_factory=dict)
    marks: dict[int, str | None] = field(default_factory=dict)
    sent: list[tuple[int, int]] = field(default_factory=list)
    on_send: Any = None

    def add(self, pid: int, parent: int, mark: str | None = "", *, session: int = 0, state: str = "S") -> Process:
        process = Process(pid, parent, session or pid, state, self.clock, 1.5, 1000)
        self.processes[pid] = process
        self.marks[pid] = mark
        return process

    # --- System -------------------------------------------------------------------------------------

    def adopts(self) -> bool:
        return self.subreaper

    def now(self) -> float:
        return self.clock

    def boot_id(self) -> str:
        return "boot"

    def stat(self, pid: int) -> Process | None:
        return self.processes.get(pid)

    def children(self, pid: int) -> list[int]:
        return [process.pid for process in self.processes.values() if process.parent == pid]

    def own_children(self) -> list[int]:
        return self.children(os.getpid())

    def everyone(self) -> Iterable[Process]:
        return list(self.processes.values())

    def mark(self, pid: int) -> str | None:
        return self.marks.get(pid)

    def send(self, process: Process, signal: int) -> bool:
        self.sent.append((process.pid, signal))
        if self.on_send is not None:
            self.on_send(process, signal)
        return True

    def exit_descriptor(self, process: Process) -> int | None:
        return None

    def listens(self, port: int, pids: Iterable[int]) -> bool | None:
        return None

    def listening(self, pids: Iterable[int]) -> Iterable[tuple[str, int]]:
        return []

    def sacrifice(self, pid: int) -> None:
        raise AssertionError("not here")


AGENT = os.getpid()


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def forest(table: Table) -> Forest:
    return Forest(table)


def start(forest: Forest, table: Table, uid: str, pid: int) -> None:
    with forest.spawning(uid):
        table.clock += 10
        table.add(pid, AGENT, uid)
        forest.born(uid, pid)


def pids(processes: Iterable[Process]) -> list[int]:
    return sorted(process.pid for process in processes)


def test_a_main_process_and_what_descends_from_it(forest: Forest, table: Table) -> None:
    start(forest, table, "a", 10)
    start(forest, table, "b", 20)
    table.add(11, 10, "a")
    table.add(12, 11, "")
    assert pids(forest.members("a")) == [10, 11, 12]
    assert pids(forest.members("b")) == [20]
    assert forest.usage("a") == (4.5, 3000)


def test_an_orphan_belongs_to_the_job_of_its_mark(forest: Forest, table: Table) -> None:
    start(forest, table, "a", 10)
    start(forest, table, "b", 20)
    table.add(30, AGENT, "outer:b")
    table.add(31, 30, "")
    assert pids(forest.members("b")) == [20, 30, 31]
    assert forest.adopters() == {"b"}


def test_an_orphan_without_a_mark_is_of_the_only_job_that_can_have_started_it(forest: Forest, table: Table) -> None:
    start(forest, table, "a", 10)
    table.clock += 10
    table.add(30, AGENT, "")
    assert pids(forest.members("a")) == [10, 30]
    start(forest, table, "b", 20)
    # It is older than b's first process, and known to be a's.
    assert pids(forest.members("a")) == [10, 30]
    assert pids(forest.members("b")) == [20]
    table.clock += 10
    table.add(31, AGENT, "")
    # May be either's: nobody's is ended for it.
    assert pids(forest.members("a")) == [10, 30]
    assert pids(forest.members("b")) == [20]


def test_what_was_a_jobs_stays_its_without_its_mark(forest: Forest, table: Table) -> None:
    start(forest, table, "a", 10)
    start(forest, table, "b", 20)
    table.add(30, AGENT, "a")
    assert pids(forest.members("a")) == [10, 30]
    table.marks[30] = ""
    assert pids(forest.members("a")) == [10, 30]
    assert pids(forest.members("b")) == [20]


def test_one_that_executes_a_program_is_looked_at_again(forest: Forest, table: Table) -> None:
    start(forest, table, "a", 10)
    start(forest, table, "b", 20)
    table.add(30, AGENT, None)
    assert forest.look("a")[1] is False
    table.marks[30] = "a"
    members, complete = forest.look("a")
    assert (pids(members), complete) == ([10, 30], True)


def test_a_closed_jobs_orphans_are_unclaimed(forest: Forest, table: Table) -> None:
    start(forest, table, "a", 10)
    table.add(30, AGENT, "a")
    forest.died(10)
    del table.processes[10]
    forest.closed("a")
    assert pids(forest.members(UNCLAIMED)) == [30]


def test_children_that_the_agent_had_before_are_no_jobs(table: Table) -> None:
    table.add(5, AGENT, "")
    forest = Forest(table)
    start(forest, table, "a", 10)
    assert pids(forest.members("a")) == [10]
    assert forest.adopters() == set()


def test_a_pid_used_again_is_another_process(forest: Forest, table: Table) -> None:
    start(forest, table, "a", 10)
    table.clock += 10
    table.add(10, 1, "")
    assert forest.members("a") == []


def test_kill_stops_what_forks_meanwhile(forest: Forest, table: Table) -> None:
    start(forest, table, "a", 10)
    forked = iter([11, 12, 13])

    def fork(process: Process, signal: int) -> None:
        if signal == STOP and (pid := next(forked, None)) is not None:
            table.add(pid, process.pid, "a")

    table.on_send = fork
    killed = forest.kill("a")
    assert killed is not None
    assert pids(killed) == [10, 11, 12, 13]
    assert [pid for pid, signal in table.sent if signal == KILL] == [10, 11, 12, 13]
    first_kill = next(index for index, (_, signal) in enumerate(table.sent) if signal == KILL)
    assert all(signal == STOP for _, signal in table.sent[:first_kill])


def test_kill_goes_to_a_group_first(forest: Forest, table: Table) -> None:
    start(forest, table, "a", 10)
    told: list[str] = []
    forest.grouped("a", lambda: told.append("group"))
    table.on_send = lambda process, signal: told.append("one")
    forest.kill("a")
    assert told[0] == "group"
    forest.closed("a")
    told.clear()
    forest.kill("a")
    assert told == ["one", "one"]  # its main process was not reaped


def test_without_a_subreaper_all_processes_are_searched() -> None:
    table = Table(subreaper=False)
    forest = Forest(table)
    start(forest, table, "a", 10)
    start(forest, table, "b", 20)
    table.add(11, 1, "", session=10)  # of its session
    table.add(12, 1, "x:a")  # by its mark
    table.add(13, 1, "")  # a stranger
    table.add(14, 12, "")
    assert pids(forest.members("a")) == [10, 11, 12, 14]
    assert pids(forest.members("b")) == [20]
    assert forest.members(UNCLAIMED) == []
