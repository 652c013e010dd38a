"""Whether a response that ends with its connection is complete, by the end of the job."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from pagent.agent import Agent
from pagent.jobs.last_responses import completeness
from pagent.jobs.model import Job
from pagent.jobs.tree import NATIVE
from tests.kit.peer import PATIENCE_S, Peer


async def running_job(agent: Agent, peer: Peer, *args: str) -> Job:
    uid = str((await peer.call("job_create"))["uid"])
    await peer.call("job_start", uid, list(args), None, None, 0)
    return next(job for job in agent.jobs.jobs() if job.uid == uid)


async def begun_to_exit(job: Job) -> None:
    """Wait until the process has begun to exit; its end may not be reported yet."""
    assert job.pid is not None
    async with asyncio.timeout(PATIENCE_S):
        while not NATIVE.is_exiting(job.pid):  # noqa: ASYNC110 - a process is no event
            await asyncio.sleep(0)


async def test_the_job_goes_on(agent: Agent, peer: Peer) -> None:
    assert completeness(await running_job(agent, peer, "sleep", "600")) is None


@pytest.mark.parametrize(("code", "is_complete"), [(0, True), (3, False)])
async def test_the_job_exits(agent: Agent, peer: Peer, code: int, is_complete: bool) -> None:
    script = f"import sys; sys.stdin.read(); sys.exit({code})"
    job = await running_job(agent, peer, sys.executable, "-c", script)
    await begun_to_exit(job)
    ending = completeness(job)
    assert ending is not None
    assert await ending is is_complete


async def test_the_job_is_killed(agent: Agent, peer: Peer) -> None:
    job = await running_job(agent, peer, "sleep", "600")
    assert job.pid is not None
    os.kill(job.pid, signal.SIGKILL)
    await begun_to_exit(job)
    ending = completeness(job)
    assert ending is not None
    assert await ending is False


async def test_the_agent_ends_the_job(agent: Agent, peer: Peer) -> None:
    job = await running_job(agent, peer, "sh", "-c", "trap 'exit 0' TERM; echo ready; sleep 600 & wait")
    await peer.call("job_kill", job.uid, "TERM")
    assert job.exit_code is not None or job.signal is not None
    ending = completeness(job)
    assert ending is not None
    assert await ending is False
