"""The agent in the process of a command."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pagent.agent import Agent
from pagent.client import AgentClient, connect_agent
from pagent.config.model import ControlSettings, JobSettings, ServerSettings, Settings
from pagent.limits import RUN_OUTPUT_MAX
from pagent.runtime.tasks import TaskOwner


@asynccontextmanager
async def embedded_agent(folder: str | None, force: asyncio.Event) -> AsyncIterator[AgentClient]:
    """Start an agent in this process, and connect to it. It ends with the block.

    :param folder: a folder of this machine that jobs may run in, besides their sandboxes.
    :param force: when it is set, the agent ends its jobs without a grace period.
    """
    secret = secrets.token_hex(16)
    settings = Settings(
        server=ServerSettings(accept_tokens=(secret,)),
        control=ControlSettings(enabled=False),
        jobs=JobSettings(max_output_bytes=RUN_OUTPUT_MAX, allow_folders=() if folder is None else (folder,)),
    )
    agent = Agent(settings)
    tasks = TaskOwner("embedded agent")

    async def end_at_once() -> None:
        await force.wait()
        agent.end(0)

    try:
        await agent.start()
        async with connect_agent(f"127.0.0.1:{agent.rpc_port}", token=secret) as client:
            yield client
    finally:
        agent.end(0)
        tasks.start(end_at_once(), name="force")
        await agent.stop()
        await tasks.close()
