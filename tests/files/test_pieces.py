from __future__ import annotations

import asyncio
import threading

import pytest

from pagent import limits
from pagent.errors import StuckError
from pagent.files.pieces import Pieces
from pagent.runtime.threads import ThreadPool, Threads


async def test_pieces_run_in_a_thread_and_clean_up_once(threads: Threads) -> None:
    seen: list[object] = []
    pieces = Pieces(threads, lambda: seen.append("clean"))
    assert await pieces.run(lambda a, b: (a, b, threading.current_thread() is threading.main_thread()), 1, "b") == (
        1,
        "b",
        False,
    )
    await pieces.end()
    await pieces.end()
    assert seen == ["clean"]
    with pytest.raises(RuntimeError, match="has ended"):
        await pieces.run(seen.append, "late")
    assert seen == ["clean"]


async def test_the_last_piece_cleans_up_unless_it_raises(threads: Threads) -> None:
    seen: list[str] = []
    pieces = Pieces(threads, lambda: seen.append("clean"))
    with pytest.raises(ValueError, match="no"):
        await pieces.run_last(_raise, ValueError("no"))
    assert seen == []
    await pieces.run_last(seen.append, "last")
    await pieces.end()
    assert seen == ["last", "clean"]


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("size", [1, 2])
async def test_clean_up_waits_for_the_piece_of_a_cancelled_task(size: int) -> None:
    seen: list[str] = []
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(10)
        seen.append("piece")

    threads = ThreadPool("test", size)
    pieces = Pieces(threads, lambda: seen.append("clean"))
    task = asyncio.ensure_future(pieces.run(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ending = asyncio.ensure_future(pieces.end())
    await asyncio.sleep(0)
    assert seen == []
    go_on.set()
    await ending
    await threads.close(10)
    assert seen == ["piece", "clean"]


async def test_clean_up_goes_on_if_its_awaiter_is_cancelled(threads: Threads) -> None:
    cleaned = asyncio.Event()
    loop = asyncio.get_running_loop()
    go_on = threading.Event()

    def clean_up() -> None:
        assert go_on.wait(10)
        loop.call_soon_threadsafe(cleaned.set)

    pieces = Pieces(threads, clean_up)
    ending = asyncio.ensure_future(pieces.end())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    go_on.set()
    await cleaned.wait()


async def test_a_piece_that_was_cancelled_before_its_turn_does_not_run(threads: Threads) -> None:
    seen: list[str] = []
    go_on = threading.Event()
    first = asyncio.ensure_future(Pieces(threads, lambda: None).run(go_on.wait, 10))
    pieces = Pieces(threads, lambda: seen.append("clean"))
    second = asyncio.ensure_future(pieces.run(seen.append, "piece"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await first
    await pieces.end()
    assert seen == ["clean"]


async def test_without_its_threads_it_cleans_up_all_the_same() -> None:
    seen: list[str] = []
    threads = ThreadPool("test", 1)
    await threads.close(0)
    await Pieces(threads, lambda: seen.append("clean")).end()
    assert seen == ["clean"]


async def test_what_hangs_in_the_system_fails_after_a_limit_and_cleans_up_by_itself(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DISK_ANSWER_S", 0.05)
    seen: list[str] = []
    cleaned = asyncio.Event()
    loop = asyncio.get_running_loop()
    go_on = threading.Event()

    def work() -> None:
        assert go_on.wait(10)
        seen.append("piece")

    def clean_up() -> None:
        seen.append("clean")
        loop.call_soon_threadsafe(cleaned.set)

    pieces = Pieces(threads, clean_up)
    with pytest.raises(StuckError):
        await pieces.run(work)
    await pieces.end()
    assert seen == []  # the descriptors are in use
    with pytest.raises(RuntimeError, match="has ended"):
        await pieces.run(seen.append, "late")  # in the thread that has taken the place of the other
    go_on.set()
    await cleaned.wait()
    assert seen == ["piece", "clean"]


async def test_the_clean_up_runs_however_many_pieces_of_the_job_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DISK_ANSWER_S", 0.05)
    pool = ThreadPool("test", 1)
    job = pool.share(1)
    go_on = threading.Event()
    seen: list[str] = []
    healthy = Pieces(job, lambda: seen.append("clean"))
    await healthy.run(int)
    for _ in range(limits.STUCK_THREADS_SHARE):
        with pytest.raises(StuckError):
            await Pieces(job, lambda: None).run(go_on.wait, 10)
    with pytest.raises(StuckError, match="earlier"):
        await healthy.run(seen.append, "piece")
    await healthy.end()
    assert seen == ["clean"]
    assert await pool.share(1).run(int) == 0  # another job's
    go_on.set()
    await pool.close(10)
