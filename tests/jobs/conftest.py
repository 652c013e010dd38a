"""For all tests of jobs: owners, a manager that leaves no process and no file, programs for jobs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job, Owner
from pagent.jobs.tree import NATIVE, become_subreaper
from pagent.runtime.threads import ThreadPool

#: Longer than any of these tests takes; nothing waits for it to pass.
PATIENCE_S = 30.0

PYTHON = sys.executable


def owner(connection: str = "c1", realm: object = "realm", by_uid: bool = False) -> Owner:
    return Owner(connection, "SERVER", b"router", "a router", realm, by_uid)


@pytest_asyncio.fixture
async def threads() -> AsyncIterator[ThreadPool]:
    pool = ThreadPool("test", 1)
    yield pool
    await pool.close(PATIENCE_S)


@pytest.fixture
def subreaper() -> Iterator[None]:
    """As in an agent's process; undone afterwards, because the test process has other children."""
    if not become_subreaper():
        pytest.skip("no subreapers here")
    yield
    become_subreaper(False)


@pytest_asyncio.fixture
async def manager(tmp_path: Path, subreaper: None) -> AsyncIterator[JobManager]:
    manager = JobManager(root=tmp_path, properties={})
    manager.endpoint = "http://127.0.0.1:1/job_started"
    yield manager
    now = asyncio.Event()
    now.set()
    async with asyncio.timeout(PATIENCE_S):
        await manager.shutdown(now=now)
    assert os.listdir(tmp_path) == []


Running = Callable[..., Awaitable[Job]]


@pytest.fixture
def running(manager: JobManager) -> Running:
    """A job that runs a shell script."""

    async def run(script: str, **arguments: object) -> Job:
        job = manager.create(owner(), "a job")
        arguments.setdefault("port_expected_count", 0)
        await manager.start(job, ["sh", "-c", script], None, **arguments)  # type: ignore[arg-type]
        return job

    return run


async def line_of(job: Job, name: str) -> str:
    """The first line of a file that the job writes, once it is there. The job makes it with a rename."""
    path = job.sandbox.path / name
    async with asyncio.timeout(PATIENCE_S):
        while not path.exists():  # noqa: ASYNC110 - another process's doing, which has no event
            await asyncio.sleep(0.01)
    return path.read_text("utf-8").splitlines()[0]


def is_alive(pid: int) -> bool:
    process = NATIVE.stat(pid)
    return process is not None and process.alive


async def gone(pid: int) -> None:
    """Until the process has ended."""
    async with asyncio.timeout(PATIENCE_S):
        while is_alive(pid):  # noqa: ASYNC110 - the end of a process of others is no event here
            await asyncio.sleep(0.005)
