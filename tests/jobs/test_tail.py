"""The wait for the last output of a job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pagent.jobs import tail
from pagent.jobs.manager import JobManager
from pagent.jobs.tail import Tail
from tests.jobs.conftest import PATIENCE_S, Running, gone, line_of


class Watched:
    """A tail whose output is a number."""

    def __init__(self, grows: Callable[[], int]) -> None:
        self.quiet = asyncio.Event()
        self.looks = 0
        self._grows = grows
        self.tail = Tail(self._size, self.quiet.set)

    def _size(self) -> int:
        self.looks += 1
        return self._grows()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "_LOOK_S", 0.01)
    monkeypatch.setattr(tail, "OUTPUT_QUIET_S", 0.05)
    monkeypatch.setattr(tail, "OUTPUT_TAIL_MAX_S", 0.5)


async def test_it_waits_for_the_quiet_time() -> None:
    watched = Watched(lambda: 7)
    watched.tail.begin()
    assert watched.tail.waits
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(PATIENCE_S):
        await watched.quiet.wait()
    assert asyncio.get_running_loop().time() - began >= 0.05 - 0.01
    assert not watched.tail.waits


async def test_a_change_begins_the_quiet_time_again() -> None:
    watched = Watched(lambda: min(watched.looks, 20))
    watched.tail.begin()
    async with asyncio.timeout(PATIENCE_S):
        await watched.quiet.wait()
    assert watched.looks > 20


async def test_output_that_never_ends_is_not_waited_for() -> None:
    watched = Watched(lambda: watched.looks)
    watched.tail.begin()
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(PATIENCE_S):
        await watched.quiet.wait()
    assert asyncio.get_running_loop().time() - began >= 0.5 - 0.01


async def test_a_cancelled_one_does_not_call() -> None:
    watched = Watched(lambda: 7)
    watched.tail.begin()
    watched.tail.cancel()
    assert not watched.tail.waits
    looks = watched.looks
    await asyncio.sleep(0.1)
    assert not watched.quiet.is_set()
    assert watched.looks == looks


async def test_forwarded_output_has_the_quiet_time(manager: JobManager, running: Running) -> None:
    job = await running("sleep 1000 & echo $! > pid.tmp; mv pid.tmp pid; exit 3", forward_stdout=True)
    pid = int(await line_of(job, "pid"))
    await manager.wait(job)
    assert job.exit_code == 3
    await gone(pid)


async def test_a_kill_does_not_wait(manager: JobManager, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "OUTPUT_QUIET_S", 3600.0)
    monkeypatch.setattr(tail, "OUTPUT_TAIL_MAX_S", 3600.0)
    job = await running("sleep 1000 & echo $! > pid.tmp; mv pid.tmp pid; wait")
    pid = int(await line_of(job, "pid"))
    async with asyncio.timeout(PATIENCE_S):
        await manager.kill(job)
    await gone(pid)
    assert job.output_ended


async def test_a_removal_in_the_quiet_time_ends_it(
    manager: JobManager, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "OUTPUT_QUIET_S", 3600.0)
    monkeypatch.setattr(tail, "OUTPUT_TAIL_MAX_S", 3600.0)
    job = await running("sleep 1000 & echo $! > pid.tmp; mv pid.tmp pid; exit 3")
    pid = int(await line_of(job, "pid"))
    await manager.wait(job)
    assert not job.output_ended
    async with asyncio.timeout(PATIENCE_S):
        await manager.remove(job)
    assert job.output_ended
    await gone(pid)


async def test_a_tree_that_is_over_is_not_waited_for(
    manager: JobManager, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "OUTPUT_QUIET_S", 3600.0)
    monkeypatch.setattr(tail, "OUTPUT_TAIL_MAX_S", 3600.0)
    job = await running("exit 0")
    ended = asyncio.Event()
    with job.until_output_ends(ended.set):
        async with asyncio.timeout(PATIENCE_S):
            await ended.wait()
    assert job.process_ended.is_set()
