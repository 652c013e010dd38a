"""``job_figures`` of a router."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client import connect_agent
from pagent.config.model import ClientSettings, ServerSettings, Settings
from pagent.errors import MethodError
from pagent.router import Router
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import connected

BUSY = [sys.executable, "-c", "while True: pass"]


@pytest.fixture
async def agent(router: Router) -> Any:
    dialling = ClientSettings(enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN)
    async with running_agent(Settings(server=ServerSettings(enabled=False), client=dialling)) as running:
        await connected(router, running.uid)
        yield running


async def test_a_client_gets_all_jobs_and_then_changes(router: Router, agent: Agent) -> None:
    async with connect_agent(f"127.0.0.1:{router.control_port}", token="any") as client:
        idle, busy = await client.create_job("idle"), await client.create_job("busy")
        await busy.start(BUSY, port_expected_count=0)
        seen: dict[str, list[Any]] = {}
        async with asyncio.timeout(PATIENCE_S), aclosing(client.figures(interval=0.5)) as messages:
            async for message in messages:
                seen |= message
                if seen.keys() == {idle.uid, busy.uid} and seen[busy.uid][0]:
                    break
        assert seen[idle.uid][:5] == [None, None, 0, 0, 0]
        assert seen[busy.uid][1] > 0
        # The figures of agents are asked for while a client calls for them, and no longer.
        async with asyncio.timeout(PATIENCE_S):
            while router.figures.rows:  # noqa: ASYNC110 - the router reports no event for it
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("interval", [0.4, -1, "1", None, float("nan"), True])
async def test_wrong_intervals(router: Router, interval: Any) -> None:
    async with connect_agent(f"127.0.0.1:{router.control_port}", token="any") as client:
        with pytest.raises(MethodError):
            await anext(client.figures(interval=interval))
