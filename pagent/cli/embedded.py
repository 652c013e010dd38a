"""The agent that a command uses: one that runs elsewhere, or one in this process."""

from __future__ import annotations

import asyncio
import platform
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pagent.agent import Agent
from pagent.cli.ended import slow
from pagent.client import AgentClient, connect_agent
from pagent.config.model import Control, Jobs, Server, Settings
from pagent.limits import RUN_OUTPUT_MAX
from pagent.net.dial import parse_address
from pagent.runtime.tasks import TaskOwner
from pagent.web.local import is_loopback_name


@asynccontextmanager
async def remote_agent(address: str, token: str) -> AsyncIterator[AgentClient]:
    """Yield a link to an agent that runs elsewhere. DialError, or ConfigError for what is no address."""
    link = connect_agent(address, token=token)
    async with slow(f"connecting to {address}"):
        client = await link.__aenter__()
    try:
        yield client
    finally:
        await link.__aexit__(None, None, None)


def shares_ports(agent: AgentClient, address: str) -> bool:
    """Return whether the agent's jobs and this process compete for the ports of one loopback.

    An address of the loopback may also be the near end of a tunnel to another host.
    """
    node = agent.identity.get("platform", {}).get("node")
    return node == platform.node() and is_loopback_name(parse_address(address).host)


@asynccontextmanager
async def embedded_agent(folder: str | None, hurry: asyncio.Event) -> AsyncIterator[AgentClient]:
    """Yield a link to an agent in this process, whose jobs may run in ``folder``; it ends with the block.

    ``hurry``: set, it ends its jobs without grace.
    """
    secret = secrets.token_hex(16)
    settings = Settings(
        server=Server(accept_tokens=(secret,)),
        control=Control(enabled=False),
        jobs=Jobs(max_output_bytes=RUN_OUTPUT_MAX, allow_folders=() if folder is None else (folder,)),
    )
    agent = Agent(settings)
    tasks = TaskOwner("embedded agent")

    async def hasten() -> None:
        await hurry.wait()
        agent.end(0)

    try:
        await agent.start()
        async with connect_agent(f"127.0.0.1:{agent.rpc_port}", token=secret) as client:
            yield client
    finally:
        agent.end(0)
        tasks.start(hasten(), name="waiting for the second signal")
        await agent.stop()
        await tasks.close()
