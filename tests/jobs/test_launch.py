"""The start of a job's processes, where something is missing, is killed or hangs."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pagent import limits
from pagent.errors import ProcessStartTimeoutError
from pagent.jobs.folders import AllowedFolders
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job, State
from pagent.jobs.tree import NATIVE
from tests.jobs.conftest import PATIENCE_S, Running, gone, is_alive, line_of, owner

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


def parent_of(pid: int | None) -> int:
    assert pid is not None
    process = NATIVE.stat(pid)
    assert process is not None
    return process.parent


async def requested(manager: JobManager, job: Job, *args: str, **options: Any) -> asyncio.Task[None]:
    """Begin the start of a job; return when its state says so. The agent's keeper is stopped."""
    starting = asyncio.ensure_future(manager.start(job, args, None, port_expected_count=0, **options))
    async with asyncio.timeout(PATIENCE_S):
        while job.state is State.NEW:  # noqa: ASYNC110 - no event for that
            await asyncio.sleep(0)
    return starting


async def done(task: asyncio.Task[Any]) -> BaseException | None:
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait([task])
    return task.exception()


class NullUser:
    """The user of a process of which nothing is read."""

    def exec_output(self, data: bytes) -> None: ...

    def exec_input(self, blocked: bool) -> None: ...

    def exec_ended(self, code: int) -> None: ...


def execute(manager: JobManager, job: Job, *args: str) -> asyncio.Task[Any]:
    return asyncio.ensure_future(manager.execute(job, NullUser(), args, None, tty=False, rows=0, cols=0))


async def test_a_job_is_started_although_the_keeper_is_killed(manager: JobManager, running: Running) -> None:
    """The request is in the socket of a keeper that never reads it; another keeper starts the job."""
    first = await running("exec sleep 1000")
    keeper = parent_of(parent_of(first.pid))
    os.kill(keeper, signal.SIGSTOP)
    second = manager.create(owner())
    starting = await requested(manager, second, "sleep", "1000")
    os.kill(keeper, signal.SIGKILL)
    assert await done(starting) is None
    assert (second.state, second.error) == (State.RUNNING, None)
    assert second.pid is not None
    assert is_alive(second.pid)


async def test_a_supervisor_that_is_killed_during_a_start(manager: JobManager, running: Running) -> None:
    job = await running("exec sleep 1000")
    supervisor = parent_of(job.pid)
    os.kill(supervisor, signal.SIGSTOP)
    starting = execute(manager, job, "true")
    await asyncio.sleep(0)
    os.kill(supervisor, signal.SIGKILL)
    assert isinstance(await done(starting), ProcessLookupError)
    assert job.state is State.RUNNING  # its main process has outlived the supervisor


async def test_a_working_folder_that_cannot_be_entered_is_named_as_the_reason(
    manager: JobManager, running: Running
) -> None:
    first = await running("exec sleep 1000")
    keeper = parent_of(parent_of(first.pid))
    os.kill(keeper, signal.SIGSTOP)
    try:
        job = manager.create(owner())
        (job.sandbox.path / "place").mkdir()
        starting = await requested(manager, job, "true", cwd="place")
        (job.sandbox.path / "place").rmdir()
    finally:
        os.kill(keeper, signal.SIGCONT)
    error = await done(starting)
    assert isinstance(error, FileNotFoundError)
    assert error.strerror == f"its working folder cannot be entered: {os.strerror(errno.ENOENT)}"
    assert job.error is not None
    assert "working folder" in job.error
    assert str(job.sandbox.path) not in job.error


async def test_a_further_process_that_the_system_does_not_execute(
    manager: JobManager, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READY_TIMEOUT_S", 0.2)
    job = await running("exec sleep 1000")
    supervisor = parent_of(job.pid)
    os.kill(supervisor, signal.SIGSTOP)
    error = await done(execute(manager, job, "sh", "-c", "echo > late"))
    assert isinstance(error, ProcessStartTimeoutError)
    assert str(error) == "the system has not executed 'sh' within 0.2 s"
    os.kill(supervisor, signal.SIGCONT)


async def test_the_environment_of_a_further_process_is_that_of_the_job(manager: JobManager) -> None:
    job = manager.create(owner())
    await manager.start(job, ["sleep", "1000"], {"OF_JOB": "1", "BOTH": "job"}, port_expected_count=0)
    script = 'echo "$OF_JOB $BOTH $OWN" > it.tmp; mv it.tmp it'
    own = {"BOTH": "own", "OWN": "2"}
    await manager.execute(job, NullUser(), ["sh", "-c", script], own, tty=False, rows=0, cols=0)
    assert await line_of(job, "it") == "1 own 2"


class HangingFolders(AllowedFolders):
    """Folders of a file system that does not answer until it is let go."""

    def __init__(self, folder: Path) -> None:
        super().__init__([str(folder)])
        self.asked = threading.Event()
        self.answer = threading.Event()

    def open(self, path: str) -> int:
        self.asked.set()
        assert self.answer.wait(PATIENCE_S)
        return super().open(path)


async def test_a_folder_that_opens_after_the_cancel_is_closed(
    tmp_path: Path, subreaper: None, descriptors: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    folders = HangingFolders(allowed)
    monkeypatch.setattr("pagent.jobs.manager.AllowedFolders", lambda _: folders)
    manager = JobManager(root=root, properties={})
    job = manager.create(owner())
    before = descriptors()
    starting = asyncio.ensure_future(manager.start(job, ["true"], None, cwd=str(allowed), port_expected_count=0))
    await asyncio.to_thread(folders.asked.wait, PATIENCE_S)
    starting.cancel()
    await asyncio.wait([starting])
    assert job.state is State.NEW
    folders.answer.set()
    async with asyncio.timeout(PATIENCE_S):
        while descriptors() > before:  # noqa: ASYNC110 - another thread closes it
            await asyncio.sleep(0.005)
    await manager.start(job, ["true"], None, port_expected_count=0)
    async with asyncio.timeout(PATIENCE_S):
        await job.process_ended.wait()
        await manager.shutdown()


async def test_a_folder_that_is_not_allowed_is_named(manager: JobManager, tmp_path: Path) -> None:
    job = manager.create(owner())
    with pytest.raises(ValueError, match=r"^cwd: '/etc' is not in a folder that jobs\.allow_folders lists$"):
        await manager.start(job, ["true"], None, cwd="/etc", port_expected_count=0)
    with pytest.raises(ValueError, match=r"^cwd: path leaves the sandbox: '\.\.'$"):
        await manager.start(job, ["true"], None, cwd="..", port_expected_count=0)
    assert job.state is State.NEW


async def test_many_starts_at_once_leave_no_descriptor(manager: JobManager, descriptors: Callable[[], int]) -> None:
    """More than may be under way at a time."""
    jobs = [manager.create(owner()) for _ in range(80)]
    before = descriptors()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(manager.start(job, ["true"], None, port_expected_count=0) for job in jobs))
        for job in jobs:
            await job.process_ended.wait()
            await manager.remove(job)
    assert {job.exit_code for job in jobs} == {0}
    assert descriptors() == before - len(jobs)


async def test_a_process_that_is_killed_with_its_group(manager: JobManager, running: Running) -> None:
    job = await running("exec sleep 1000")
    script = "sleep 1000 & echo $! > inner.tmp; mv inner.tmp inner; wait"
    process = await manager.execute(job, NullUser(), ["sh", "-c", script], None, tty=False, rows=0, cols=0)
    inner = int(await line_of(job, "inner"))
    process.kill()
    await gone(inner)
    assert job.state is State.RUNNING
