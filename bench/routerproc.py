"""Start a router with an agent that dials it, and a job through its HTTP API."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench import wire
from bench.agentproc import JOB_COMMAND, JOB_ENVIRONMENT, ROOT, run_pagent
from bench.plain import PlainWay
from bench.process import Layout, pin
from bench.workload import ROUTER

_LINK_TIMEOUT_S: Final = 20.0
_OK: Final = 200


@dataclass(frozen=True)
class RouterProcess:
    """A running router: where agents dial it and with which token, and where clients reach it."""

    pid: int
    server: int
    control: int
    token: str


async def routed_way(stack: AsyncExitStack, folder: Path, layout: Layout) -> PlainWay:
    """Return a way through a router and an agent, both on the core of the measured process; they end with the stack."""
    return await way_through(stack, await start_router(stack, layout), folder, layout)


async def start_router(
    stack: AsyncExitStack, layout: Layout, *, instead_of: RouterProcess | None = None
) -> RouterProcess:
    """Start a router, to end with the stack; with the ports and the token of another one that has ended."""
    token = secrets.token_hex(16) if instead_of is None else instead_of.token
    settings = {
        "identity.uid": "bench",
        "server.port": 0 if instead_of is None else instead_of.server,
        "control.port": 0 if instead_of is None else instead_of.control,
        "server.accept_tokens": [token],
        "control.allowed_hosts": [dict(wire.FIELDS)["Host"]],
    }
    router = await run_pagent(stack, "route", settings, layout.server, ROOT)
    return RouterProcess(router.pid, router.ports["server"], router.ports["control"], token)


async def way_through(stack: AsyncExitStack, router: RouterProcess, folder: Path, layout: Layout) -> PlainWay:
    """Start an agent that dials a router, and its job; return the way through them, to end with the stack."""
    uid = "bench-routed"
    settings: dict[str, Any] = {
        "identity.uid": uid,
        "jobs.root": str(folder),
        "server.enabled": False,
        "control.enabled": False,
        "client.enabled": True,
        "client.address": f"127.0.0.1:{router.server}",
        "client.token": router.token,
    }
    agent = await run_pagent(stack, "serve", settings, layout.server, ROOT)
    path, job_pid = await _start_job(f"http://127.0.0.1:{router.control}", uid)
    pin(job_pid, layout.job)
    way = PlainWay(ROUTER, router.control, (router.pid, agent.pid), job_pid, prefix=f"{path}/http")
    stack.callback(way.close)
    return way


async def _start_job(base: str, agent: str) -> tuple[str, int]:
    """Return the path and the pid of a job that serves."""
    async with aiohttp.ClientSession(base) as session:
        path = await _create_job(session, agent)
        start = {"args": list(JOB_COMMAND), "env": JOB_ENVIRONMENT}
        async with session.post(f"{path}/start", json=start) as started:
            return path, (await started.json())["pid"]


async def _create_job(session: aiohttp.ClientSession, agent: str) -> str:
    """Return the path of a new job, once the agent has its link to the router."""
    create = {"name": "bench", "agent": {"type": "uid", "uid": agent}}
    async with asyncio.timeout(_LINK_TIMEOUT_S):
        while True:
            async with session.post("/jobs/create", json=create) as created:
                if created.status == _OK:
                    return str((await created.json())["path"])
            await asyncio.sleep(0.02)
