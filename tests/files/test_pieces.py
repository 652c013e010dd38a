from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from pagent.files.pieces import Pieces


async def test_pieces_run_in_a_thread_and_clean_up_once(executor: Executor) -> None:
    seen: list[object] = []
    pieces = Pieces(executor, lambda: seen.append("clean"))
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


async def test_the_last_piece_cleans_up_unless_it_raises(executor: Executor) -> None:
    seen: list[str] = []
    pieces = Pieces(executor, lambda: seen.append("clean"))
    with pytest.raises(ValueError, match="no"):
        await pieces.run_last(_raise, ValueError("no"))
    assert seen == []
    await pieces.run_last(seen.append, "last")
    await pieces.end()
    assert seen == ["last", "clean"]


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("threads", [1, 2])
async def test_clean_up_waits_for_the_piece_of_a_cancelled_task(threads: int) -> None:
    seen: list[str] = []
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(10)
        seen.append("piece")

    with ThreadPoolExecutor(threads) as executor:
        pieces = Pieces(executor, lambda: seen.append("clean"))
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
    assert seen == ["piece", "clean"]


async def test_clean_up_goes_on_if_its_awaiter_is_cancelled(executor: Executor) -> None:
    cleaned = asyncio.Event()
    loop = asyncio.get_running_loop()
    go_on = threading.Event()

    def clean_up() -> None:
        assert go_on.wait(10)
        loop.call_soon_threadsafe(cleaned.set)

    pieces = Pieces(executor, clean_up)
    ending = asyncio.ensure_future(pieces.end())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    go_on.set()
    await cleaned.wait()


async def test_a_piece_that_was_cancelled_before_its_turn_does_not_run(executor: Executor) -> None:
    seen: list[str] = []
    go_on = threading.Event()
    first = asyncio.ensure_future(Pieces(executor, lambda: None).run(go_on.wait, 10))
    pieces = Pieces(executor, lambda: seen.append("clean"))
    second = asyncio.ensure_future(pieces.run(seen.append, "piece"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await first
    await pieces.end()
    assert seen == ["clean"]


async def test_without_its_executor_it_cleans_up_all_the_same() -> None:
    seen: list[str] = []
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    await Pieces(executor, lambda: seen.append("clean")).end()
    assert seen == ["clean"]
