"""A router in the test's loop, with an agent and a client of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pagent.agent import Agent
from pagent.client import AgentClient, connect_agent
from pagent.router import Router
from tests.kit.routers import agent_of, running_router


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    async with running_router() as running:
        yield running


@pytest.fixture
async def agent(router: Router, tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_of(router, tmp_path) as running:
        yield running


@pytest.fixture
async def client(router: Router, agent: Agent) -> AsyncIterator[AgentClient]:
    async with connect_agent(f"127.0.0.1:{router.control_port}", token="any") as connection:
        yield connection
