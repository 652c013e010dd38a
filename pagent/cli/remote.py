"""The remote agent or router that a command uses."""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from pagent import log
from pagent.access.hosts import is_loopback_name
from pagent.cli import loop
from pagent.cli.failure import announce_if_slow, exit_code_of
from pagent.cli.interrupt import run_until_interrupted
from pagent.cli.target import Target
from pagent.client import AgentClient, connect_agent
from pagent.net.dial import parse_address


@asynccontextmanager
async def remote_agent(address: str, token: str, *, redial_s: float = 0.0) -> AsyncIterator[AgentClient]:
    """Connect to a remote agent. DialError, or ConfigError for an invalid address.

    :param redial_s: seconds for which a lost link is dialled again. Without it, the command ends with its link.
    """
    link = connect_agent(address, token=token, redial_s=redial_s)
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


def run_dialled(
    target: Target, work: Callable[[AgentClient], Coroutine[Any, Any, int]], *, redial_s: float = 0.0
) -> NoReturn:
    """Connect, run ``work`` until it returns its exit code or a signal arrives, and end the process."""

    async def dialled() -> int:
        async with remote_agent(target.address, target.token, redial_s=redial_s) as client:
            return await work(client)

    log.setup("debug" if target.debug else "error")
    raise SystemExit(loop.run(lambda: run_until_interrupted(lambda: exit_code_of(dialled()))))
