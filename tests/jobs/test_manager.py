"""The methods of the manager at their edges; ``test_manager_machine.py`` has the sequences of operations."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from pagent.errors import JobInvalidStateError, JobNotFoundError
from pagent.jobs.manager import JobManager
from pagent.jobs.model import OPERATOR, State
from pagent.jobs.ports import ReportError
from tests.jobs.conftest import PATIENCE_S, PYTHON, Running, gone, line_of, owner

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

STUBBORN = "trap '' TERM; echo up > up.tmp; mv up.tmp up; exec sleep 1000"


# --- creation -----------------------------------------------------------------------------------------


async def test_a_refused_job_leaves_no_sandbox(manager: JobManager, tmp_path: Path) -> None:
    (folder,) = os.listdir(tmp_path)
    before = sorted(os.listdir(tmp_path / folder))
    with pytest.raises(TypeError):
        manager.create(owner(), 7)
    with pytest.raises(JobInvalidStateError, match="owns no jobs"):
        manager.create(owner(realm=OPERATOR))
    assert sorted(os.listdir(tmp_path / folder)) == before
    assert manager.jobs() == []


async def test_the_limit_of_jobs_does_not_refuse_a_repeated_creation(tmp_path: Path, subreaper: None) -> None:
    manager = JobManager(root=tmp_path, properties={}, max_jobs=1)
    job = manager.create(owner(), uid="a" * 32)
    with pytest.raises(JobInvalidStateError, match=r"the agent has 1 jobs, as many as jobs\.max allows"):
        manager.create(owner())
    assert manager.create(owner(), uid="a" * 32) is job
    await manager.remove(job)
    manager.create(owner())
    await manager.shutdown()


async def test_a_uid_is_not_free_until_its_job_is_removed(manager: JobManager) -> None:
    job = manager.create(owner(), uid="a" * 32)
    await manager.start(job, ["sh", "-c", STUBBORN], None, port_expected_count=0)
    await line_of(job, "up")
    removal = asyncio.ensure_future(manager.remove(job))
    await asyncio.sleep(0)
    with pytest.raises(JobInvalidStateError):
        manager.create(owner(), uid="a" * 32)
    assert job.pid is not None
    os.kill(job.pid, 9)
    async with asyncio.timeout(PATIENCE_S):
        await removal


async def test_the_folder_of_the_sandboxes_is_made_again(manager: JobManager, tmp_path: Path) -> None:
    """A cleaner of old files may have deleted it while there was no job."""
    for folder in os.listdir(tmp_path):
        shutil.rmtree(tmp_path / folder)
    job = manager.create(owner())
    assert job.sandbox.path.is_dir()


# --- owners -------------------------------------------------------------------------------------------


async def test_only_owners_of_the_realm_adopt(manager: JobManager) -> None:
    job = manager.create(owner("c1"))
    with pytest.raises(JobNotFoundError):
        manager.adopt(job, owner("c2", realm="other"))
    with pytest.raises(JobInvalidStateError, match="creates and adopts none"):
        manager.adopt(job, owner("c2", realm=OPERATOR))
    assert job.owner == owner("c1")
    manager.adopt(job, owner("c2"))
    await manager.drop_owner(owner("c1"))
    assert manager.jobs() == [job]
    await manager.remove(job)
    with pytest.raises(JobNotFoundError):
        manager.adopt(job, owner("c1"))


async def test_a_job_lingers_until_its_owner_comes_back(manager: JobManager) -> None:
    peer = owner(by_uid=True)
    manager.link_made(peer)
    lasting = manager.create(peer, linger=600.0)
    brief = manager.create(peer)
    manager.links.lost(peer)
    await manager.drop_owner(peer)
    assert manager.jobs() == [lasting]
    await manager.drop_owner(peer)  # a second loss does not end a job that lingers
    assert manager.jobs() == [lasting]
    manager.link_made(owner("c2", by_uid=True))
    assert brief.state is State.CLOSED
    assert lasting.state is State.NEW


async def test_an_owner_with_another_link_keeps_its_jobs(manager: JobManager) -> None:
    first, second = owner("c1", by_uid=True), owner("c2", by_uid=True)
    job = manager.create(first)
    for link in (first, second):
        manager.link_made(link)
    manager.links.lost(first)
    await manager.drop_owner(first)
    assert manager.jobs() == [job]


# --- signals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", ["NONE", "SIG", "", 0, -1, 1000])
async def test_a_signal_that_does_not_exist(manager: JobManager, running: Running, signal: str | int) -> None:
    job = await running("exec sleep 1000")
    with pytest.raises(ValueError, match="signal"):
        await manager.kill(job, signal)
    assert job.state is State.RUNNING


@pytest.mark.parametrize("grace", [-1, float("nan"), float("inf"), "5", None])
async def test_a_grace_period_that_is_none(manager: JobManager, running: Running, grace: float) -> None:
    job = await running("exec sleep 1000")
    with pytest.raises((ValueError, TypeError), match="grace"):
        await manager.kill(job, "TERM", grace)
    assert job.state is State.RUNNING


async def test_there_is_nothing_to_signal_before_the_start_and_after_the_end(
    manager: JobManager, running: Running
) -> None:
    new = manager.create(owner())
    with pytest.raises(JobInvalidStateError, match=f"job '{new.uid}' is NEW: it has no process to signal"):
        await manager.kill(new)
    job = await running("exit 0")
    async with asyncio.timeout(PATIENCE_S):
        await manager.wait(job)
        await manager.wait(new)
    with pytest.raises(JobInvalidStateError, match="is FINISHED: it has no process to signal"):
        await manager.kill(job, "USR1")


async def test_a_signal_that_ends_a_job_returns_after_its_whole_tree(manager: JobManager, running: Running) -> None:
    job = await running("setsid sleep 1000 & echo $! > inner.tmp; mv inner.tmp inner; wait")
    inner = int(await line_of(job, "inner"))
    async with asyncio.timeout(PATIENCE_S):
        await manager.kill(job, "TERM", by=owner())
    assert job.killed_by == owner()
    assert job.state is State.FINISHED
    await gone(inner)


# --- ports --------------------------------------------------------------------------------------------


async def test_the_ports_that_a_job_listens_on(manager: JobManager, running: Running) -> None:
    script = "import os, signal, socket; s = socket.create_server(('127.0.0.1', 0)); "
    script += "open('port.tmp', 'w').write(str(s.getsockname()[1])); os.rename('port.tmp', 'port'); signal.pause()"
    job = await running(f'exec {PYTHON} -c "{script}"')
    port = int(await line_of(job, "port"))
    assert await manager.listening(job) == [("127.0.0.1", port)]
    assert await manager.listening(manager.create(owner())) == []


async def test_a_report_is_refused_with_its_reason(manager: JobManager, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    manager.agent_ports.add(port)
    with pytest.raises(ReportError, match="bad port: it is the agent's own"):
        await manager.report_port([("job_id", "x"), ("port", str(port))])
    with pytest.raises(ReportError, match="unknown job"):
        await manager.report_port([("job_id", "\udcff\u00e9"), ("port", "9")])


# --- removal and end ----------------------------------------------------------------------------------


async def test_a_removal_ends_a_start_under_way(manager: JobManager) -> None:
    job = manager.create(owner())
    starting = asyncio.ensure_future(manager.start(job, ["sleep", "1000"], None))
    async with asyncio.timeout(PATIENCE_S):
        while job.pid is None:  # noqa: ASYNC110 - no event for that
            await asyncio.sleep(0)
        await manager.remove(job)
        with pytest.raises(JobInvalidStateError, match="the job was removed before it was ready"):
            await starting
    await gone(job.pid)


async def test_a_removal_goes_on_without_its_caller(manager: JobManager, running: Running) -> None:
    job = await running("exec sleep 1000")
    removal = asyncio.ensure_future(manager.remove(job))
    await asyncio.sleep(0)
    removal.cancel()
    await asyncio.wait([removal])
    async with asyncio.timeout(PATIENCE_S):
        await manager.remove(job)
    assert not job.sandbox.path.exists()
    assert manager.begin_removal(job)


async def test_the_end_of_the_agent_is_one_for_all_callers(tmp_path: Path, subreaper: None) -> None:
    manager = JobManager(root=tmp_path, properties={})
    job = manager.create(owner())
    await manager.start(job, ["sh", "-c", STUBBORN], None, port_expected_count=0)
    await line_of(job, "up")
    now = asyncio.Event()
    first = asyncio.ensure_future(manager.shutdown(now=now))
    second = asyncio.ensure_future(manager.shutdown())
    await asyncio.sleep(0)
    with pytest.raises(JobInvalidStateError, match="shutting down"):
        manager.create(owner())
    with pytest.raises(JobInvalidStateError, match="shutting down"):
        await manager.start(job, ["true"], None, port_expected_count=0)
    now.set()  # the second signal: no grace period any more
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(first, second)
    assert job.pid is not None
    await gone(job.pid)
    assert os.listdir(tmp_path) == []
