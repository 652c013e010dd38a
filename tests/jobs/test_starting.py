"""The start of a job: one at a time, and a refused one leaves the job and its ports as they were."""

from __future__ import annotations

import asyncio
import sys

import pytest

from pagent.errors import JobInvalidStateError
from pagent.jobs.given_ports import free_port
from pagent.jobs.manager import JobManager
from pagent.jobs.model import State
from tests.jobs.conftest import PATIENCE_S, owner

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


async def test_a_second_start_is_refused_while_the_first_is_under_way(manager: JobManager) -> None:
    job = manager.create(owner())
    starts = [manager.start(job, ["sleep", "1000"], None, port_expected_count=0) for _ in range(2)]
    async with asyncio.timeout(PATIENCE_S):
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [JobInvalidStateError]
    assert job.state is State.RUNNING


async def test_wrong_arguments_leave_the_job_as_it_is(manager: JobManager) -> None:
    job = manager.create(owner())
    with pytest.raises(TypeError):
        await manager.start(job, "true", None, port_expected_count=0)
    assert job.state is State.NEW
    await manager.start(job, ["sleep", "1000"], None, port_expected_count=0)
    assert job.state is State.RUNNING


async def test_a_start_that_fails_gives_its_port_back(manager: JobManager) -> None:
    port = free_port()
    for _ in range(2):
        job = manager.create(owner())
        with pytest.raises(FileNotFoundError):
            await manager.start(job, ["true"], None, cwd="no/folder", port=port, port_expected_count=1)
        assert job.state is State.NEW
    job = manager.create(owner())
    await manager.start(job, ["sleep", "1000"], None, port=port, port_expected_count=0)
    assert job.port == port


async def test_a_port_of_the_agent_is_refused(manager: JobManager) -> None:
    manager.agent_ports.add(9)
    job = manager.create(owner())
    with pytest.raises(ValueError, match="port 9 is the agent's own"):
        await manager.start(job, ["true"], None, port=9)
    assert job.state is State.NEW


async def test_no_job_starts_once_the_agent_ends(manager: JobManager) -> None:
    job = manager.create(owner())
    await manager.shutdown()
    with pytest.raises(JobInvalidStateError, match="shutting down"):
        await manager.start(job, ["true"], None, port_expected_count=0)
