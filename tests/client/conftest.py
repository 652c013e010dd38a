"""A client of ours on an agent in the test's loop, with flow control in force."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pagent.agent import Agent
from pagent.client import AgentClient, RemoteJob, connect_agent
from tests.kit.agents import TOKEN
from tests.kit.transfers import sandbox_of


@pytest.fixture
async def client(agent: Agent) -> AsyncIterator[AgentClient]:
    async with connect_agent(f"127.0.0.1:{agent.rpc_port}", token=TOKEN) as made:
        assert made.link.flow
        yield made


@pytest.fixture
async def job(client: AgentClient) -> RemoteJob:
    """A job that has not been started."""
    return await client.create_job("test")


@pytest.fixture
def sandbox(agent: Agent, job: RemoteJob) -> Path:
    return sandbox_of(agent, job.uid)
