"""The removal of jobs: at once where little is left, in a task otherwise, and complete where a folder resists."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pagent.errors import JobNotFoundError
from pagent.jobs.manager import JobManager
from pagent.jobs.model import State
from tests.jobs.conftest import PATIENCE_S, Running, gone, owner


async def test_a_job_that_was_never_started_is_removed_at_once(manager: JobManager) -> None:
    job = manager.create(owner())
    assert manager.begin_removal(job)
    assert job.state is State.CLOSED
    assert job.output_ended
    assert not job.sandbox.path.exists()


async def test_a_job_with_folders_is_removed_in_a_task(manager: JobManager) -> None:
    job = manager.create(owner())
    (job.sandbox.path / "a" / "b").mkdir(parents=True)
    assert not manager.begin_removal(job)
    assert job.state is State.CLOSED
    async with asyncio.timeout(PATIENCE_S):
        await manager.remove(job)
    assert not job.sandbox.path.exists()


async def test_a_running_job_ends_before_its_sandbox_is_deleted(manager: JobManager, running: Running) -> None:
    job = await running("exec sleep 1000")
    pid = job.pid
    assert pid is not None
    async with asyncio.timeout(PATIENCE_S):
        await manager.remove(job)
    await gone(pid)
    assert job.output_ended
    assert not job.sandbox.path.exists()
    with pytest.raises(JobNotFoundError):
        manager.get(job.uid, owner())


async def test_all_callers_wait_for_one_removal(manager: JobManager, running: Running) -> None:
    job = await running("exec sleep 1000")
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(manager.remove(job), manager.remove(job))
        await manager.remove(job)
    assert not job.sandbox.path.exists()


async def test_a_sandbox_that_cannot_be_deleted_is_an_error_and_a_log_line(
    manager: JobManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = manager.create(owner())

    def refuse() -> None:
        raise OSError(5, "Input/output error", "folder")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(job.sandbox, "remove_if_small", lambda: False)
        patch.setattr(job.sandbox, "remove", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            await manager.remove(job)
    assert f"job {job.uid}: its sandbox cannot be deleted" in caplog.text
    with pytest.raises(JobNotFoundError):
        manager.get(job.uid, owner())
    job.sandbox.remove()
