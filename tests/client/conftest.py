"""A client of ours, with flow control in force: on an agent, and on a router that an agent has dialled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pagent.agent import Agent
from pagent.client import AgentClient, RemoteJob, connect_agent
from pagent.config.model import Settings
from tests.kit.agents import TOKEN
from tests.kit.remotes import KINDS, Remote, remote
from tests.kit.transfers import sandbox_of


@pytest.fixture(params=KINDS)
async def served(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[Remote]:
    """What the client dials. Each test with this fixture runs with an agent, and with a router."""
    async with remote(request.param, settings) as running:
        yield running


@pytest.fixture
def agent(served: Remote) -> Agent:
    """The agent that has the jobs."""
    return served.agent


@pytest.fixture
def address(served: Remote) -> str:
    return served.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[AgentClient]:
    async with connect_agent(address, token=TOKEN) as made:
        assert made.link.flow
        yield made


@pytest.fixture
async def job(client: AgentClient) -> RemoteJob:
    """A job that has not been started."""
    return await client.create_job("test")


@pytest.fixture
def sandbox(agent: Agent, job: RemoteJob) -> Path:
    return sandbox_of(agent, job.uid)
