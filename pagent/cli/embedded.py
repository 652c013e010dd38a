"""The agent that a command uses: a remote one, or one in this process."""

from __future__ import annotations

import asyncio
import platform
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pagent.access.hosts import is_loopback_name
from pagent.agent import Agent
from pagent.cli.failure import announce_if_slow
from pagent.client import AgentClient, connect_agent
from pagent.config.model import ControlSettings, JobSettings, ServerSettings, Settings
from pagent.limits import RUN_OUTPUT_MAX
from pagent.net.dial import parse_address
from pagent.runtime.tasks import TaskOwner


@asynccontextmanager
async def remote_agent(address: str, token: str) -> AsyncIterator[AgentClient]:
    """Connect to a remote agent. DialError, or ConfigError for an invalid address."""
    link = connect_agent(address, token=token, redial_s=0.0)  # the command ends with its link
    async with announce_if_slow(f"connecting to {address}"):
        client = await link.__aenter__()
    try:
        yield client
    finally:
        await link.__aexit__(None, None, None)


def shares_ports(agent: AgentClient, address: str) -> bool:
    """Return whether the agent's jobs listen on the loopback of this machine.

    A loopback address alone does not show that: it may be the local end of a tunnel to another host.
    """
    node = agent.identity.get("platform", {}).get("node")
    return node == platform.node() and is_loopback_name(parse_address(address).host)


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
