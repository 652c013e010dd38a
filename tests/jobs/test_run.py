"""One run of a job: its start, its readiness, its end."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from pagent.errors import (
    JobInvalidStateError,
)
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job, State
from tests.jobs.conftest import PATIENCE_S, Running, gone, is_alive, line_of, owner

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


async def start(manager: JobManager, *args: str, **options: object) -> Job:
    job = manager.create(owner(), "a job")
    options.setdefault("port_expected_count", 0)
    await manager.start(job, args, None, **options)  # type: ignore[arg-type]
    return job


async def ended(job: Job) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await job.process_ended.wait()


async def test_a_job_runs_once_its_program_does(manager: JobManager) -> None:
    job = await start(manager, "sleep", "1000")
    assert (job.state, job.exit_code, job.signal, job.error) == (State.RUNNING, None, None, None)
    assert job.pid is not None
    assert is_alive(job.pid)


@pytest.mark.parametrize(
    ("script", "code", "name"),
    [("exit 3", 3, None), ("kill -9 $$", None, "SIGKILL"), ("kill -35 $$", None, "SIGRTMIN+1")],
)
async def test_how_the_process_ended(running: Running, script: str, code: int | None, name: str | None) -> None:
    job = await running(script)
    await ended(job)
    assert (job.state, job.exit_code, job.signal) == (State.FINISHED, code, name)


async def test_a_program_that_is_not_there(manager: JobManager) -> None:
    job = manager.create(owner())
    with pytest.raises(FileNotFoundError) as caught:
        await manager.start(job, ["no-such-program"], None, port_expected_count=0)
    assert caught.value.filename == "no-such-program"
    assert (job.state, job.pid) == (State.FINISHED, None)
    assert job.error is not None
    assert "no-such-program" in job.error


async def test_the_life_of_a_job_is_logged(manager: JobManager, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pagent.jobs")
    job = await start(manager, "sh", "-c", "exit 3")
    await ended(job)
    await manager.remove(job, owner())
    killed = await start(manager, "sleep", "secret-argument", "1000")
    with suppress(JobInvalidStateError):
        await manager.kill(killed, "KILL")
    missing = manager.create(owner())
    with pytest.raises(FileNotFoundError):
        await manager.start(missing, ["no-such-program"], None, port_expected_count=0)
    await manager.remove(missing)
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert lines[:3] == [
        f"job {job.uid}: started: pid {job.pid}",
        f"job {job.uid}: ended: its process exited with code 3",
        f"job {job.uid}: removed by {owner().uid!r}",
    ]
    assert f"job {missing.uid}: its program could not be started" in lines
    assert f"job {missing.uid}: removed by the agent" in lines
    assert "secret" not in caplog.text


async def test_a_missing_folder_leaves_the_job_as_it_is(manager: JobManager) -> None:
    job = manager.create(owner())
    with pytest.raises(FileNotFoundError):
        await manager.start(job, ["true"], None, cwd="no/folder", port_expected_count=0)
    assert job.state is State.NEW
    await manager.start(job, ["true"], None, port_expected_count=0)
    await ended(job)


async def test_a_second_start_is_refused_also_while_the_first_is_under_way(manager: JobManager) -> None:
    job = manager.create(owner())
    first, second = (
        asyncio.ensure_future(manager.start(job, ["sleep", "1000"], None, port_expected_count=0)) for _ in range(2)
    )
    await first
    with pytest.raises(JobInvalidStateError):
        await second
    assert job.state is State.RUNNING
    pid = job.pid
    assert pid is not None
    await manager.remove(job)
    await gone(pid)


async def test_a_start_that_is_cancelled_leaves_no_process(manager: JobManager) -> None:
    job = manager.create(owner())
    starting = asyncio.ensure_future(manager.start(job, ["sleep", "1000"], None))
    async with asyncio.timeout(PATIENCE_S):
        while job.pid is None:  # noqa: ASYNC110 - no event for that
            await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    await gone(job.pid)
    await ended(job)
    assert job.error == "the start was cancelled"


@pytest.mark.parametrize("turns", range(8))
async def test_a_start_that_is_cancelled_at_any_time_leaves_no_process(manager: JobManager, turns: int) -> None:
    """Also between the request and the first report of the supervisor."""
    job = manager.create(owner())
    starting = asyncio.ensure_future(manager.start(job, ["sh", "-c", "echo > began; exec sleep 1000"], None))
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    sandbox = job.sandbox.path
    await manager.remove(job)
    assert not sandbox.exists()
    assert [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if works_in(pid, sandbox)] == []


def works_in(pid: int, folder: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd").startswith(str(folder))
    except OSError:
        return False


async def test_the_time_limit_ends_the_process(manager: JobManager) -> None:
    job = await start(manager, "sleep", "1000", timeout=0.1)
    await ended(job)
    assert (job.signal, job.error) == ("SIGTERM", "the process was ended after its time limit of 0.1 s")


async def test_usage_is_that_of_the_tree(running: Running) -> None:
    job = await running("sleep 1000 & sleep 1000 & echo > there.tmp; mv there.tmp there; wait")
    await line_of(job, "there")
    info = job.info()
    assert info["rss_bytes"] > 0
    assert info["cpu_seconds"] >= 0


async def test_a_signal_for_the_main_process_alone(manager: JobManager, running: Running) -> None:
    handler = "trap 'echo > caught.tmp; mv caught.tmp caught' USR1; echo > set.tmp; mv set.tmp set"
    job = await running(f"{handler}; while :; do sleep 0.01; done")
    await line_of(job, "set")
    await manager.kill(job, "USR1")
    await line_of(job, "caught")
    assert job.state is State.RUNNING
