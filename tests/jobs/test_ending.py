"""The end of a tree: a signal, a grace period, KILL, and requests that bring it forward."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from pagent import limits
from pagent.jobs.ending import TreeEnd
from pagent.jobs.manager import JobManager
from pagent.jobs.tree import KILL, NATIVE, JobTree
from pagent.runtime.tasks import TaskOwner
from pagent.runtime.threads import ThreadPool
from tests.jobs.conftest import PATIENCE_S, Running, line_of
from tests.kit.transfers import eventually

STUBBORN = "trap '' TERM INT; echo up > up.tmp; mv up.tmp up; while :; do sleep 1000; done"


async def test_what_ignores_the_signal_is_killed_after_the_grace(manager: JobManager, running: Running) -> None:
    job = await running(STUBBORN)
    await line_of(job, "up")
    async with asyncio.timeout(PATIENCE_S):
        await manager.kill(job, "TERM", 0.05)
    assert job.signal == "SIGKILL"


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
            await asyncio.sleep(0.005)  # only a wait for all children would report it
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


class Tree:
    """A tree as TreeEnd sees it. Each signal finds the next number of processes, or fails."""

    uid = "uid"

    def __init__(self, counts: list[int | OSError]) -> None:
        self.news = asyncio.Event()
        self.over = False
        self.supervised = True
        self.supervisor_killed = False
        self.is_given_up = False
        self.signals = 0
        self._counts = iter(counts)

    def signal(self, number: int, signalled: set[object]) -> int:
        return self.kill()

    def kill(self) -> int:
        count = next(self._counts)
        self.signals += 1
        if isinstance(count, OSError):
            raise count
        return count

    def ended(self) -> None:
        self.over = True

    def given_up(self) -> None:
        self.is_given_up = True

    def kill_supervisor(self) -> None:
        self.supervisor_killed = True
        self.supervised = False


@pytest.fixture
async def end_of(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Tree], TreeEnd]]:
    tasks, threads = TaskOwner("test"), ThreadPool("test", 1)
    monkeypatch.setattr(limits, "KILL_WAIT_S", 1.0)
    monkeypatch.setattr("pagent.jobs.ending.EXIT_POLL_S", 0.01)
    yield lambda tree: TreeEnd(cast(JobTree, tree), tasks, threads)
    await tasks.close()
    await threads.close(0)


async def killed(end: TreeEnd) -> bool:
    end.begin(KILL, 0)
    async with asyncio.timeout(PATIENCE_S):
        return await end.wait()


async def test_without_descriptors_it_looks_again(
    end_of: Callable[[Tree], TreeEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KILL_WAIT_S", PATIENCE_S)
    tree = Tree([OSError(errno.EMFILE, "none"), OSError(errno.EMFILE, "none"), 3, 0, 0, 0])
    assert await killed(end_of(tree))
    assert tree.over


async def test_a_supervisor_that_does_not_answer_is_killed(end_of: Callable[[Tree], TreeEnd]) -> None:
    tree = Tree([3, 0, 0, 0])
    assert await killed(end_of(tree))
    assert tree.supervisor_killed


async def test_after_news_it_signals_again(end_of: Callable[[Tree], TreeEnd]) -> None:
    """A process may start another one after it got the signal. That one gets the signal as well."""
    tree = Tree([1, 2, 0])
    end = end_of(tree)
    end.begin(signal.SIGTERM, 3600)
    await eventually(lambda: tree.signals == 1)
    tree.news.set()
    await eventually(lambda: tree.signals == 2)
    tree.supervised = False
    tree.news.set()
    async with asyncio.timeout(PATIENCE_S):
        assert await end.wait()


async def test_it_gives_up_on_what_does_not_end(
    end_of: Callable[[Tree], TreeEnd], caplog: pytest.LogCaptureFixture
) -> None:
    """As a process that hangs in the kernel: it is still there after SIGKILL."""
    tree = Tree([1] * 100)
    end = end_of(tree)
    assert await killed(end) is False
    assert tree.is_given_up
    assert "do not end on SIGKILL" in caplog.text
    assert not end.under_way


async def test_nothing_to_end(end_of: Callable[[Tree], TreeEnd]) -> None:
    tree = Tree([])
    tree.over = True
    end = end_of(tree)
    assert await end.wait() is True  # never begun
    end.begin(signal.SIGTERM, 3600)
    async with asyncio.timeout(PATIENCE_S):
        assert await end.wait() is True
