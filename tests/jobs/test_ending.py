"""The end of a tree: a signal, a grace, KILL, and what hurries it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal

import pytest

from pagent import limits
from pagent.jobs.ending import TreeEnd
from pagent.jobs.manager import JobManager
from pagent.jobs.system import Process
from pagent.jobs.tree import KILL, NATIVE
from tests.jobs.conftest import PATIENCE_S, Running, is_alive, line_of

STUBBORN = "trap '' TERM INT; echo up > up.tmp; mv up.tmp up; while :; do sleep 1000; done"


async def test_what_ignores_the_signal_is_killed_after_the_grace(manager: JobManager, running: Running) -> None:
    job = await running(STUBBORN)
    await line_of(job, "up")
    async with asyncio.timeout(PATIENCE_S):
        await manager.kill(job, "TERM", 0.05)
    assert job.signal == "SIGKILL"
    assert manager._forest.members(job.uid) == []


async def test_a_second_end_comes_sooner_never_later(manager: JobManager, running: Running) -> None:
    job = await running(STUBBORN)
    await line_of(job, "up")
    async with asyncio.timeout(PATIENCE_S):
        slow = asyncio.create_task(manager.kill(job, "TERM", 3600))
        await asyncio.sleep(0)
        later = asyncio.create_task(manager.kill(job, "INT", 3000))
        await asyncio.sleep(0)
        await manager.kill(job, "KILL")
        await asyncio.gather(slow, later)
    assert job.signal == "SIGKILL"


async def test_one_that_is_stopped_hears_of_it(manager: JobManager, running: Running) -> None:
    job = await running(
        "trap 'exit 6' TERM; echo up > up.tmp; mv up.tmp up; kill -STOP $$; while :; do sleep 0.01; done"
    )
    await line_of(job, "up")
    assert job.pid is not None
    async with asyncio.timeout(PATIENCE_S):
        while (process := NATIVE.stat(job.pid)) is not None and process.state != "T":  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # nothing tells of it but a wait for all children
        await manager.kill(job, "TERM", 3600)
    assert job.exit_code == 6


async def test_a_cancelled_kill_goes_on(manager: JobManager, running: Running) -> None:
    job = await running(STUBBORN)
    await line_of(job, "up")
    kill = asyncio.create_task(manager.kill(job, "TERM", 0.05))
    await asyncio.sleep(0)
    kill.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await manager.wait(job)
    assert job.signal == "SIGKILL"


async def test_without_descriptors_it_waits_by_the_clock(
    manager: JobManager, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(process: Process) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    job = await running("sleep 1000 & sleep 1000")
    with monkeypatch.context() as patch:
        patch.setattr(manager._forest, "exit_descriptor", none_left)
        async with asyncio.timeout(PATIENCE_S):
            await manager.kill(job, "TERM")
    assert job.pid is not None
    assert not is_alive(job.pid)


async def test_it_gives_up_on_what_does_not_end(
    manager: JobManager, running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a process that hangs in the kernel: it is still there after SIGKILL."""
    job = await running("exec sleep 1000")
    end = TreeEnd(job.uid, manager._forest, manager._tasks)
    with monkeypatch.context() as patch:
        patch.setattr(limits, "KILL_WAIT_S", 0.1)
        patch.setattr(manager._forest, "kill", lambda uid: manager._forest.members(uid))
        end.begin(KILL, 0)
        async with asyncio.timeout(PATIENCE_S):
            assert await end.wait() is False
    assert "do not end on SIGKILL" in caplog.text
    assert not end.under_way


async def test_nothing_to_end(manager: JobManager, running: Running) -> None:
    job = await running("exit 0")
    await manager.wait(job)
    end = TreeEnd(job.uid, manager._forest, manager._tasks)
    assert await end.wait() is True  # never begun
    end.begin(signal.SIGTERM, 3600)
    async with asyncio.timeout(PATIENCE_S):
        assert await end.wait() is True
