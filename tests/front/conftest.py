from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pagent.agent import Agent
from pagent.client.link import connect
from tests.front.job import start_job
from tests.kit.agents import TOKEN
from tests.kit.directory import Front, KnownAgent, KnownJobs, running_front


@pytest.fixture
async def front(agent: Agent) -> AsyncIterator[Front]:
    """A users' side in front of an agent of ours."""
    async with (
        connect(f"127.0.0.1:{agent.rpc_port}", token=TOKEN) as connection,
        running_front(KnownJobs(KnownAgent(connection.connection))) as running,
    ):
        yield running


@pytest.fixture
async def job(front: Front) -> str:
    """The start of the targets of a job, ``/jobs/.../http``."""
    assert front.jobs.link is not None
    return await start_job(front.jobs.link.connection)
