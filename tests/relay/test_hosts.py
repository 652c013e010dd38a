"""The methods of clients on hosts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from pagent import __version__
from pagent.client import AgentClient, connect_agent
from pagent.config.model import ClientSettings, IdentitySettings, JobSettings, ServerSettings, Settings
from pagent.errors import MethodError
from pagent.relay import hosts
from pagent.router import Router
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import connected


@pytest.fixture
async def client(router: Router, tmp_path: Path) -> AsyncIterator[AgentClient]:
    """A client of a router with the agents B and A."""
    async with AsyncExitStack() as stack:
        for uid in ("B", "A"):
            (tmp_path / uid).mkdir()
            settings = Settings(
                identity=IdentitySettings(uid=uid, name=f"the agent {uid}"),
                server=ServerSettings(enabled=False),
                client=ClientSettings(enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN),
                jobs=JobSettings(root=tmp_path / uid),
                properties={"pool": "gpu"},
            )
            await stack.enter_async_context(running_agent(settings))
            await connected(router, uid)
        yield await stack.enter_async_context(connect_agent(f"127.0.0.1:{router.control_port}", token="any"))


async def test_the_agents_are_listed_by_uid(client: AgentClient) -> None:
    first, second = await client.agents()
    assert (first["uid"], second["uid"]) == ("A", "B")
    assert (first["name"], first["mode"], first["properties"]) == ("the agent A", "SERVER", {"pool": "gpu"})
    assert first["address"].startswith("127.0.0.1:")
    assert abs(first["connected_at"] - time.time()) < 60
    assert first["platform"]["node"]
    assert not first["cordoned"]


async def test_the_figures_are_those_that_the_agents_have_sent(client: AgentClient) -> None:
    await client.cordon(True)
    async with asyncio.timeout(PATIENCE_S):
        async for message in client.watch(interval=0.1):
            if message.get("host", {}).get("cordoned"):
                break
    assert [agent["version"] for agent in await client.agents()] == [__version__] * 2


async def test_pages_of_agents(client: AgentClient, monkeypatch: pytest.MonkeyPatch) -> None:
    call = client.link.call
    assert [agent["uid"] for agent in await call("agent_list", None, 1)] == ["A"]
    assert [agent["uid"] for agent in await call("agent_list", "A")] == ["B"]
    assert await call("agent_list", "B") == []
    monkeypatch.setattr(hosts, "JOBS_LISTED_BYTES", 1)
    assert [agent["uid"] for agent in await call("agent_list")] == ["A"]
    assert [agent["uid"] for agent in await client.agents()] == ["A", "B"]
    for arguments in ((5,), (None, 0), (None, True)):
        with pytest.raises(MethodError) as refused:
            await call("agent_list", *arguments)
        assert refused.value.cause_type in ("TypeError", "ValueError")
