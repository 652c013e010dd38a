"""Timers of jobs that linger: one ends its job, unless it is stopped, also between its time and its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pagent.jobs.lingering import Lingering
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from pagent.runtime.rounds import Rounds
from pagent.runtime.tasks import TaskOwner
from tests.jobs.conftest import PATIENCE_S, owner


class Rig:
    def __init__(self, tasks: TaskOwner) -> None:
        self.removed: asyncio.Queue[Job] = asyncio.Queue()
        self.lingering = Lingering(tasks, Rounds(), self.removed.put_nowait)

    async def next_removed(self) -> Job:
        async with asyncio.timeout(PATIENCE_S):
            return await self.removed.get()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    tasks = TaskOwner("test")
    yield Rig(tasks)
    await tasks.close()


async def test_a_job_is_removed_when_its_time_is_over(rig: Rig, manager: JobManager) -> None:
    job = manager.create(owner())
    rig.lingering.begin(job, 0.01)
    assert job in rig.lingering
    assert await rig.next_removed() is job


async def test_a_job_that_was_stopped_goes_on(rig: Rig, manager: JobManager) -> None:
    stopped, other = manager.create(owner()), manager.create(owner())
    rig.lingering.begin(stopped, 0.01)
    rig.lingering.begin(other, 0.02)
    rig.lingering.stop(stopped)
    assert stopped not in rig.lingering
    assert await rig.next_removed() is other
    assert rig.removed.empty()
    rig.lingering.stop(stopped)


async def test_a_stop_between_its_time_and_its_turn_counts(rig: Rig, manager: JobManager) -> None:
    job, other = manager.create(owner()), manager.create(owner())
    rig.lingering.begin(job, 0.0)
    asyncio.get_running_loop().call_later(0.0, rig.lingering.stop, job)
    rig.lingering.begin(other, 0.02)
    assert await rig.next_removed() is other
    assert rig.removed.empty()
