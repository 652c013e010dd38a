"""Routers with pools, the agent that runs their commands, and commands that start agents on this machine."""

from __future__ import annotations

import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

import pagent as pagent_package
from pagent.agent import Agent
from pagent.config.model import ClientSettings, DialledRouter, Settings
from pagent.config.router import Access, PoolHost, PoolSettings
from pagent.relay.pools.notes import POOL_LABEL
from pagent.relay.pools.pools import Pools
from pagent.router import Router
from pagent.rpc.pool_job import PoolJob, PoolRequestView
from tests.kit.agents import TOKEN, running_agent
from tests.kit.programs import ECHO
from tests.kit.routers import connected, router_settings, running_router
from tests.kit.slurm import free_ports

JOIN = (sys.executable, "-m", "pagent", "serve", "--join", "-")
HOST = "login"
#: The folder of the package, for commands that do not get the environment of the test.
PACKAGE = str(Path(next(iter(pagent_package.__path__))).parent)


#: The arguments of a job's start: a program that answers with the request.
START: dict[str, Any] = {"args": [sys.executable, "-c", ECHO, "{port}"], "port": "auto", "ready": "connect"}


def pool_of(*command: str, **options: Any) -> PoolSettings:
    return PoolSettings(**{"command": command, "on": PoolHost(uid=HOST), "idle_s": 600.0, **options})


def job(**options: Any) -> PoolJob:
    start = {**START, "env": {}}
    return PoolJob(**{"uid": secrets.token_hex(16), "name": "job", "labels": {}, "start": start, **options})


def keys_in(folder: Path) -> Path:
    """Write a file of keys; return its path."""
    file = folder / "keys"
    file.write_text("a-key-of-the-tests-that-is-long-enough-for-all\n")
    file.chmod(0o600)
    return file


@asynccontextmanager
async def running_host(settings: Settings, port: int) -> AsyncIterator[Agent]:
    """The agent that runs the commands."""
    client = ClientSettings(enabled=True, address=f"127.0.0.1:{port}", token=TOKEN, reconnect_delay=0.1)
    identity = replace(settings.identity, uid=HOST)
    async with running_agent(replace(settings, client=client, identity=identity)) as agent:
        yield agent


@asynccontextmanager
async def running_pools(
    settings: Settings, keys: Path, access: Access | None = None, **pools: PoolSettings
) -> AsyncIterator[tuple[Router, Agent]]:
    """A router with pools, and the agent for their commands."""
    configured = router_settings(access=replace(access or Access(), keys_file=keys), pools=pools)
    async with (
        running_router(configured) as router,
        running_host(settings, router.server_port) as host,
    ):
        await connected(router, HOST)
        yield router, host


@asynccontextmanager
async def running_routers(
    settings: Settings, folder: Path, count: int, **pools: PoolSettings
) -> AsyncIterator[tuple[list[Router], Agent]]:
    """Routers of one site, and the agent for the commands of their pools, which has a link to each."""
    configured = router_settings(access=Access(keys_file=keys_in(folder)), pools=pools)
    async with AsyncExitStack() as stack:
        # The agents of pools are to dial all of them, so all ports have to be known before the first one starts.
        ports = free_ports(count)
        addresses = tuple(f"127.0.0.1:{port}" for port in ports)
        pools = {name: replace(pool, addresses=addresses) for name, pool in pools.items()}
        routers = [
            await stack.enter_async_context(
                running_router(replace(configured, pools=pools, server=replace(configured.server, port=port)))
            )
            for port in ports
        ]
        client = ClientSettings(
            enabled=True, address=tuple(map(DialledRouter, addresses)), token=TOKEN, reconnect_delay=0.1
        )
        identity = replace(settings.identity, uid=HOST)
        host = await stack.enter_async_context(running_agent(replace(settings, client=client, identity=identity)))
        for router in routers:
            await connected(router, HOST)
        yield routers, host


def has_arrived(router: Router, job_uid: str) -> bool:
    """Whether a job is at its agent, and was started."""
    record = router.directory.jobs.get(job_uid)
    return record is not None and not record.is_queued and not router.directory.jobs.is_awaited(job_uid)


def message_of(router: Router, job_uid: str) -> str:
    """Return the engine's last words on a job that waits, or why it got no agent."""
    record = router.directory.jobs.get(job_uid)
    return "" if record is None else record.info().get("message", "")


def requests(pools: Pools, name: str = "p") -> tuple[PoolRequestView, ...]:
    view = pools.view(name)
    assert view is not None
    return view.requests


def states(pools: Pools, name: str = "p") -> list[str]:
    return [request.state for request in requests(pools, name)]


def agents_of_pools() -> list[psutil.Process]:
    """Return the agents that commands have started below this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ends meanwhile
            if process.cmdline()[1:] == [*JOIN[1:]]:
                found.append(process)
    return found


def command_jobs(router: Router) -> list[str]:
    return [record.uid for record in router.directory.jobs.from_age(None) if POOL_LABEL in record.labels]
