"""Start all processes of one workload: agents, job, splice, peers.

They are new for each, so that none inherits a heap.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from bench.agentproc import JOB_COMMAND, JOB_ENVIRONMENT, ROOT, AgentProcess, dial, start_agent, start_job
from bench.agentway import AgentWay, TunnelWay
from bench.far import DELAY_S, RATE
from bench.flow import FlowWay
from bench.link import LinkDriver
from bench.peers import peer
from bench.plain import PlainWay
from bench.process import Layout, first_line, pin, running
from bench.routerproc import routed_way
from bench.way import Way
from bench.workload import CHP, DIALS, DIRECT, NO_FLOW, PEERS, ROUTER, TUNNEL, TWO_SPLICES
from pagent.client import connect_agent

#: Names of the two ways that every workload has, and of the agent of another tree.
AGENT: Final = "agent"
SPLICE: Final = "splice"
BASE: Final = "base"


@asynccontextmanager
async def rig(layout: Layout, also: Collection[str], base: Path | None = None) -> AsyncIterator[dict[str, Way]]:
    """Start all processes, pinned, and yield the ways by name, the agent's and the splice's first.

    They end with the block.

    ``also``: names of further ways. ``base``: the tree of another agent to measure.
    """
    async with AsyncExitStack() as stack:
        folder = _begin(stack, layout)
        agent = await start_agent(stack, folder, "accepts", layout.server, ROOT)
        driver = await dial(stack, agent.token, agent.port)
        job = await start_job(driver, layout)
        job_pid, port = job["pid"], job["ports"][0]
        ways: dict[str, Way] = {AGENT: AgentWay(AGENT, driver, agent.pid, job["uid"], job_pid)}
        ways[SPLICE] = await _splice(stack, layout, port, job_pid)
        if base is not None:
            other = await start_agent(stack, folder, "accepts", layout.server, base)
            ways[BASE] = await _with_job(BASE, await dial(stack, other.token, other.port), other, layout)
        if DIALS in also:
            dialling = await start_agent(stack, folder, "dials", layout.server, ROOT)
            assert dialling.driver is not None
            ways[DIALS] = await _with_job(DIALS, dialling.driver, dialling, layout)
        if TUNNEL in also:
            ways[TUNNEL] = TunnelWay(TUNNEL, driver, agent.pid, job["uid"], job_pid)
        for name in (*PEERS, CHP):
            if name in also:
                number, pid = await stack.enter_async_context(peer(name, port, folder, layout.server))
                ways[name] = _closed(stack, PlainWay(name, number, (pid,), job_pid))
        if TWO_SPLICES in also:
            ways[TWO_SPLICES] = await _two_splices(stack, layout, port, job_pid)
        if ROUTER in also:
            ways[ROUTER] = await routed_way(stack, folder, layout)
        if DIRECT in also:
            ways[DIRECT] = _closed(stack, PlainWay(DIRECT, port, (job_pid,), job_pid))
        yield ways


@asynccontextmanager
async def delayed_rig(layout: Layout, also: Collection[str]) -> AsyncIterator[dict[str, Way]]:
    """Start as :func:`rig` does, with a relay that delays before the agent and before the splice.

    The agent's way is a link with flow control; ``no-flow`` in ``also`` is one without.
    """
    async with AsyncExitStack() as stack:
        folder = _begin(stack, layout)
        agent = await start_agent(stack, folder, "accepts", layout.server, ROOT)
        far_port = await _relay(stack, layout, agent.port)
        client = await stack.enter_async_context(connect_agent(f"127.0.0.1:{far_port}", token=agent.token))
        job = await client.create_job("bench")
        await job.start(JOB_COMMAND, JOB_ENVIRONMENT)
        info = await job.info()
        job_pid = info["pid"]
        pin(job_pid, layout.job)
        ways: dict[str, Way] = {AGENT: FlowWay(AGENT, client, agent.pid, job.uid, job_pid)}  # type: ignore[dict-item]
        splice = await _splice_process(stack, layout, info["ports"][0])
        splice_port = await _relay(stack, layout, splice[0])
        ways[SPLICE] = _closed(stack, PlainWay(SPLICE, splice_port, (splice[1],), job_pid))
        if NO_FLOW in also:
            driver = await dial(stack, agent.token, far_port)
            ways[NO_FLOW] = await _with_job(NO_FLOW, driver, agent, layout)
        yield ways


def _begin(stack: AsyncExitStack, layout: Layout) -> Path:
    """Pin this process, and yield the folder of this rig."""
    pin(os.getpid(), layout.generator)
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pagent-bench-")))


def _closed(stack: AsyncExitStack, way: PlainWay) -> PlainWay:
    stack.callback(way.close)
    return way


async def _with_job(name: str, driver: LinkDriver, agent: AgentProcess, layout: Layout) -> AgentWay:
    """Return a way with a job of its own."""
    job = await start_job(driver, layout)
    return AgentWay(name, driver, agent.pid, job["uid"], job["pid"])


async def _splice(stack: AsyncExitStack, layout: Layout, port: int, job_pid: int) -> PlainWay:
    number, pid = await _splice_process(stack, layout, port)
    return _closed(stack, PlainWay(SPLICE, number, (pid,), job_pid))


async def _two_splices(stack: AsyncExitStack, layout: Layout, port: int, job_pid: int) -> PlainWay:
    """Return the way through a splice to another splice: the least cost of a router and an agent."""
    second, second_pid = await _splice_process(stack, layout, port)
    first, first_pid = await _splice_process(stack, layout, second)
    return _closed(stack, PlainWay(TWO_SPLICES, first, (first_pid, second_pid), job_pid))


async def _splice_process(stack: AsyncExitStack, layout: Layout, port: int) -> tuple[int, int]:
    """Return its port and its pid."""
    process = await stack.enter_async_context(
        running([sys.executable, "-m", "bench.splice", str(port)], core=layout.server, env=JOB_ENVIRONMENT)
    )
    return int(await first_line(process)), process.pid


async def _relay(stack: AsyncExitStack, layout: Layout, port: int) -> int:
    """Return its port."""
    args = [sys.executable, "-m", "bench.relay", str(port), str(DELAY_S), str(RATE)]
    process = await stack.enter_async_context(running(args, core=layout.generator, env=JOB_ENVIRONMENT))
    return int(await first_line(process))
