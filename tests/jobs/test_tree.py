"""The processes that belong to a job, and the signals to them: the rules, on a process table of the test."""

from __future__ import annotations

import pytest

from pagent.jobs.tree import KILL, STOP
from pagent.jobs.trees import Trees
from tests.jobs.table import AGENT, Table, new_trees, pids_of, start


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def trees(table: Table) -> Trees:
    return new_trees(table)


def test_what_descends_from_the_supervisor(trees: Trees, table: Table) -> None:
    a, b = start(trees, table, "a", 10), start(trees, table, "b", 20)
    table.add(12, 11)
    table.add(13, 10)  # lost its parent
    table.add(14, 13, state="Z")
    assert pids_of(a.look()) == [11, 12, 13]
    assert pids_of(b.look()) == [21]
    assert a.usage() == (6.0, 3000)  # with the supervisor's seconds
    assert a.usage(2) is None
    assert a.listening() == [("127.0.0.1", 11), ("127.0.0.1", 12), ("127.0.0.1", 13)]


def test_nothing_else_is_a_jobs(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    table.add(30, AGENT)
    table.add(31, AGENT, session=11, folder="/root/a")
    assert pids_of(a.look()) == [11]
    assert trees.unclaimed() == []


def test_a_supervisor_whose_pid_is_used_again(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    del table.processes[11]
    table.clock += 10
    table.add(10, 1)
    table.add(12, 10)
    assert a.look() == []
    assert a.supervised  # until its socket is lost: its processes may just come to the keeper
    a.supervisor_ended(empty=False)
    assert not a.supervised


def test_the_end_is_reported(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    a.supervisor_ended(empty=True)
    assert (a.over, a.lost, a.news.is_set()) == (True, False, True)


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
    killed: list[str] = []
    a.grouped(lambda: killed.append("group"))
    table.on_send = lambda pid, signal: killed.append("one")
    a.kill()
    assert killed == ["group", "one", "one"]


def test_each_is_signalled_once(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    table.add(12, 11, state="T")
    signalled: set[tuple[int, float]] = set()
    assert a.signal(15, signalled) == 2
    assert sorted(table.sent) == [(11, 15), (12, 15), (12, 18)]
    table.add(13, 11)
    assert a.signal(15, signalled) == 3
    assert table.sent[3:] == [(13, 15)]


def test_without_subreapers_sessions_are_searched() -> None:
    table = Table(subreapers=False)
    trees = new_trees(table)
    a, b = start(trees, table, "a", 10), start(trees, table, "b", 20)
    table.add(12, 1, session=11)
    table.add(13, 12)
    table.add(14, 1)  # of no job
    assert pids_of(a.look()) == [11, 12, 13]
    a.supervisor_ended(empty=True)
    assert not a.over
    del table.processes[10]
    table.orphan(11, 1)
    assert pids_of(a.look()) == [11, 12, 13]
    assert not a.supervised
    assert pids_of(b.look()) == [21]
