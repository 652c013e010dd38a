from __future__ import annotations

import asyncio
import threading

import pytest

from pagent import limits
from pagent.errors import StuckError
from pagent.files.disk_work import DiskWork
from pagent.runtime.threads import ThreadPool, Threads


async def test_steps_run_in_a_thread_and_clean_up_once(threads: Threads) -> None:
    seen: list[object] = []
    transfer = DiskWork(threads, lambda: seen.append("clean"))
    assert await transfer.run(lambda a, b: (a, b, threading.current_thread() is threading.main_thread()), 1, "b") == (
        1,
        "b",
        False,
    )
    await transfer.end()
    await transfer.end()
    assert seen == ["clean"]
    with pytest.raises(RuntimeError, match="has ended"):
        await transfer.run(seen.append, "late")
    assert seen == ["clean"]


async def test_the_last_step_cleans_up_unless_it_raises(threads: Threads) -> None:
    seen: list[str] = []
    transfer = DiskWork(threads, lambda: seen.append("clean"))
    with pytest.raises(ValueError, match="no"):
        await transfer.run_last(_raise, ValueError("no"))
    assert seen == []
    await transfer.run_last(seen.append, "last")
    await transfer.end()
    assert seen == ["last", "clean"]


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("size", [1, 2])
async def test_clean_up_waits_for_the_step_of_a_cancelled_task(size: int) -> None:
    seen: list[str] = []
    begun, resume = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        assert resume.wait(10)
        seen.append("step")

    threads = ThreadPool("test", size)
    transfer = DiskWork(threads, lambda: seen.append("clean"))
    task = asyncio.ensure_future(transfer.run(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ending = asyncio.ensure_future(transfer.end())
    await asyncio.sleep(0)
    assert seen == []
    resume.set()
    await ending
    await threads.close(10)
    assert seen == ["step", "clean"]


async def test_clean_up_continues_if_its_awaiter_is_cancelled(threads: Threads) -> None:
    cleaned = asyncio.Event()
    loop = asyncio.get_running_loop()
    resume = threading.Event()

    def clean_up() -> None:
        assert resume.wait(10)
        loop.call_soon_threadsafe(cleaned.set)

    transfer = DiskWork(threads, clean_up)
    ending = asyncio.ensure_future(transfer.end())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    resume.set()
    await cleaned.wait()


async def test_a_step_cancelled_before_its_turn_does_not_run(threads: Threads) -> None:
    seen: list[str] = []
    resume = threading.Event()
    first = asyncio.ensure_future(DiskWork(threads, lambda: None).run(resume.wait, 10))
    transfer = DiskWork(threads, lambda: seen.append("clean"))
    second = asyncio.ensure_future(transfer.run(seen.append, "step"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    resume.set()
    await first
    await transfer.end()
    assert seen == ["clean"]


async def test_clean_up_runs_after_the_pool_is_closed() -> None:
    seen: list[str] = []
    threads = ThreadPool("test", 1)
    await threads.close(0)
    await DiskWork(threads, lambda: seen.append("clean")).end()
    assert seen == ["clean"]


async def test_a_step_that_hangs_fails_after_a_limit_and_cleans_up_by_itself(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DISK_ANSWER_S", 0.05)
    seen: list[str] = []
    cleaned = asyncio.Event()
    loop = asyncio.get_running_loop()
    resume = threading.Event()

    def work() -> None:
        assert resume.wait(10)
        seen.append("step")

    def clean_up() -> None:
        seen.append("clean")
        loop.call_soon_threadsafe(cleaned.set)

    transfer = DiskWork(threads, clean_up)
    with pytest.raises(StuckError):
        await transfer.run(work)
    await transfer.end()
    assert seen == []  # the descriptors are in use
    with pytest.raises(RuntimeError, match="has ended"):
        await transfer.run(seen.append, "late")  # in the thread that replaced the hanging one
    resume.set()
    await cleaned.wait()
    assert seen == ["step", "clean"]


async def test_the_clean_up_runs_however_many_steps_of_the_job_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ThreadPool("test", 1)
    job = pool.share(1)
    resume = threading.Event()
    seen: list[str] = []
    healthy = DiskWork(job, lambda: seen.append("clean"))
    await healthy.run(int)
    monkeypatch.setattr(limits, "DISK_ANSWER_S", 0.05)
    for _ in range(limits.STUCK_THREADS_SHARE):
        with pytest.raises(StuckError):
            await DiskWork(job, lambda: None).run(resume.wait, 10)
    with pytest.raises(StuckError, match="earlier"):
        await healthy.run(seen.append, "step")
    monkeypatch.setattr(limits, "DISK_ANSWER_S", 10.0)
    await healthy.end()
    assert seen == ["clean"]
    assert await pool.share(1).run(int) == 0  # another job's
    resume.set()
    await pool.close(10)
