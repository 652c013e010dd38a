"""The processes whose supervisor was killed are ended and no others, on a process table of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pagent.jobs.adopted import AdoptedProcesses
from pagent.jobs.tree import KILL
from pagent.jobs.trees import Trees
from pagent.runtime.tasks import TaskOwner
from pagent.runtime.threads import ThreadPool
from tests.jobs.conftest import PATIENCE_S
from tests.jobs.table import Table, kill_keeper, kill_supervisor, new_trees, start


@pytest.fixture
def table() -> Table:
    """Processes that end when they get KILL."""
    table = Table()
    table.on_send = lambda pid, number: table.processes.pop(pid, None) if number == KILL else None
    return table


@pytest.fixture
async def trees(table: Table) -> Trees:
    return new_trees(table)


@pytest.fixture
async def adopted(trees: Trees) -> AsyncIterator[AdoptedProcesses]:
    tasks, threads = TaskOwner("test"), ThreadPool("test", 1)
    yield AdoptedProcesses(trees, threads, tasks)
    await tasks.close()
    await threads.close(PATIENCE_S)


async def test_processes_of_a_removed_job_are_ended(adopted: AdoptedProcesses, trees: Trees, table: Table) -> None:
    tree = start(trees, table, "a", 10)
    start(trees, table, "b", 20)
    table.add(12, 10)
    kill_supervisor(tree, table)
    trees.closed("a")
    async with asyncio.timeout(PATIENCE_S):
        await adopted.end()
    assert {pid for pid, number in table.sent if number == KILL} == {11, 12}
    assert {20, 21} <= set(table.processes)


async def test_a_job_without_supervisor_and_keeper_is_ended_at_once(
    adopted: AdoptedProcesses, trees: Trees, table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    tree = start(trees, table, "a", 10)
    kill_keeper(trees, table)
    kill_supervisor(tree, table)
    async with asyncio.timeout(PATIENCE_S):
        while 11 in table.processes:  # noqa: ASYNC110 - the table has no event
            await asyncio.sleep(0.005)
    assert "job a: ended, because its supervisor and the keeper were killed" in caplog.text
