"""What clients see of the jobs of an agent whose link is lost, in lists and watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from pagent.client import AgentClient, connect_agent
from pagent.router import Router
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import connected, disconnected
from tests.kit.watched import Watched, listed, watched_link


@asynccontextmanager
async def linked(router: Router, service: Watched) -> AsyncIterator[None]:
    """Connect the agent, the same one each time."""
    async with watched_link(router, "A", service, instance="1" * 32):
        await listed(await connected(router, "A"))
        yield
    await disconnected(router)


async def states(client: AgentClient) -> dict[str, str]:
    return {job.uid: job.first_info["state"] for job in await client.jobs()}


async def changed(watch: AsyncGenerator[dict[str, Any], None]) -> tuple[str, str]:
    """Return uid and state of the next job that the watch has a message of."""
    async with asyncio.timeout(PATIENCE_S):
        async for message in watch:
            if "job" in message:
                return message["job"]["uid"], message["job"]["state"]
    raise AssertionError("the watch has ended")


async def test_jobs_of_an_agent_without_a_link_are_unreachable(router: Router) -> None:
    service = Watched()
    for uid, state in (("a", "RUNNING"), ("b", "FINISHED")):
        service.jobs[uid] = {"uid": uid, "name": uid, "state": state, "labels": {}}
    async with (
        connect_agent(f"127.0.0.1:{router.control_port}", token="any") as client,
        aclosing(client.watch()) as watch,
    ):
        assert "host" in await anext(watch)
        assert await anext(watch) == {"ready": True}
        async with linked(router, service):
            assert [await changed(watch), await changed(watch)] == [("a", "RUNNING"), ("b", "FINISHED")]
            assert await states(client) == {"a": "RUNNING", "b": "FINISHED"}
        assert await states(client) == {"a": "UNREACHABLE", "b": "FINISHED"}
        assert [await changed(watch), await changed(watch)] == [("a", "UNREACHABLE"), ("b", "FINISHED")]
        async with linked(router, service):
            assert [await changed(watch), await changed(watch)] == [("a", "RUNNING"), ("b", "FINISHED")]
            assert await states(client) == {"a": "RUNNING", "b": "FINISHED"}
