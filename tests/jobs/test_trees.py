"""The processes of killed supervisors: the rules, on a process table of the test."""

from __future__ import annotations

import pytest

from pagent.jobs.trees import Trees
from tests.jobs.table import AGENT, KEEPER, Table, kill_keeper, kill_supervisor, new_trees, pids_of, start


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def trees(table: Table) -> Trees:
    return new_trees(table)


def test_a_killed_supervisors_processes_come_to_the_keeper(trees: Trees, table: Table) -> None:
    a, b = start(trees, table, "a", 10), start(trees, table, "b", 20)
    table.add(12, 10)
    table.add(13, 12)
    kill_supervisor(a, table)
    assert not a.over
    assert pids_of(a.look()) == [11, 12, 13]
    assert pids_of(b.look()) == [21]
    table.add(14, KEEPER)  # a later orphan of its
    assert pids_of(a.look()) == [11, 12, 13, 14]


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
    assert pids_of(a.look()) == [11, 12, 13, 14]
    assert pids_of(b.look()) == [21, 23]
    trees.closed("a")
    for pid in (11, 12, 13, 14):
        del table.processes[pid]
    assert pids_of(b.look()) == [21, 22, 23, 24]
    assert trees.unclaimed() == []
    trees.closed("b")
    assert pids_of(trees.unclaimed()) == [21, 22, 23, 24]


def test_the_first_process_of_a_system_is_sure_of_what_it_knows_only(table: Table) -> None:
    trees = new_trees(table, is_init=True)
    a = start(trees, table, "a", 10)
    kill_keeper(trees, table)
    table.add(12, 10)
    trees.note()
    table.add(13, 10)
    table.add(14, 10, folder="/root/a")
    kill_supervisor(a, table)
    table.add(30, AGENT)
    assert pids_of(a.look()) == [11, 12, 14]
    trees.closed("a")
    assert trees.unclaimed() == []


def test_children_that_the_agent_had_before_are_no_jobs(table: Table) -> None:
    table.add(5, AGENT)
    trees = new_trees(table)
    a = start(trees, table, "a", 10)
    kill_keeper(trees, table)
    kill_supervisor(a, table)
    assert pids_of(a.look()) == [11]


def test_orphans_of_children_that_the_agent_had_before_are_no_jobs(table: Table) -> None:
    table.add(5, AGENT)
    trees = new_trees(table)
    a = start(trees, table, "a", 10)
    kill_keeper(trees, table)
    table.add(12, 10)
    trees.note()
    kill_supervisor(a, table)
    table.add(6, AGENT)  # a daemon that 5 has started
    assert pids_of(a.look()) == [11, 12]
    trees.closed("a")
    assert trees.unclaimed() == []


def test_a_session_whose_number_is_used_again_is_not_the_jobs(trees: Trees, table: Table) -> None:
    a, b = start(trees, table, "a", 10), start(trees, table, "b", 20)
    for tree in (a, b):
        kill_supervisor(tree, table)
    del table.processes[11]
    table.clock += 10
    table.add(11, KEEPER, session=11)
    table.add(12, KEEPER, session=11)
    assert pids_of(a.look()) == []


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
    assert pids_of(b.look()) == [21, 22]


def test_a_supervisor_whose_keeper_was_killed_is_no_jobs(trees: Trees, table: Table) -> None:
    a, b = start(trees, table, "a", 10), start(trees, table, "b", 20)
    kill_keeper(trees, table)
    kill_supervisor(a, table)
    assert pids_of(a.look()) == [11]
    assert pids_of(b.look()) == [21]


def test_children_of_the_keeper_are_certain_to_be_of_jobs(table: Table) -> None:
    """Also where the agent has other children: these never come to the keeper."""
    table.add(5, AGENT)
    trees = new_trees(table, is_init=True)
    a = start(trees, table, "a", 10)
    table.add(30, AGENT)
    kill_supervisor(a, table)
    table.add(12, KEEPER)
    assert pids_of(a.look()) == [11, 12]
    trees.closed("a")
    assert pids_of(trees.unclaimed()) == [11, 12]


def test_a_job_without_supervisor_and_keeper_is_unkept(trees: Trees, table: Table) -> None:
    a, b, c = (start(trees, table, uid, pid) for uid, pid in (("a", 10), ("b", 20), ("c", 30)))
    kill_supervisor(a, table)
    assert trees.unkept() == []
    kill_keeper(trees, table)
    assert trees.unkept() == [a]
    table.add(3, AGENT)
    trees.keeper_started(3)
    kill_supervisor(b, table)
    assert trees.unkept() == [a, b]
    b.ended()
    assert trees.unkept() == [a]
    assert pids_of(c.look()) == [31]


def test_care_is_needed_after_a_loss_only(trees: Trees, table: Table) -> None:
    a = start(trees, table, "a", 10)
    assert not trees.needs_care
    kill_supervisor(a, table)
    assert trees.needs_care
