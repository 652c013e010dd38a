"""Blocking work in threads: results, errors, limits, stuck threads and shares of a pool."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Iterator

import pytest

from pagent import limits
from pagent.errors import EndingError, StuckError
from pagent.runtime.threads import ThreadPool

PATIENCE_S = 30.0


class Gate:
    """Work that hangs until it is let go, as a read on a dead disk does."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.inside = 0
        self.most = 0

    def pass_through(self) -> str:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self._open.wait(PATIENCE_S)
        with self._lock:
            self.inside -= 1
        return "through"

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
async def pool() -> AsyncIterator[ThreadPool]:
    pool = ThreadPool("test pool", 2)
    yield pool
    await pool.close(PATIENCE_S)


async def within(awaitable: object) -> object:
    async with asyncio.timeout(PATIENCE_S):
        return await awaitable  # type: ignore[misc]


async def test_a_result_and_an_error_reach_the_caller(pool: ThreadPool) -> None:
    assert await pool.run(divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 7, 0)
    with pytest.raises(SystemExit):
        await pool.run(sys.exit, 3)


async def test_the_work_runs_in_a_daemon_thread_of_the_pools_name(pool: ThreadPool) -> None:
    thread = await pool.run(threading.current_thread)
    assert (thread.name, thread.daemon) == ("test pool", True)


async def test_no_more_threads_than_its_size_and_every_work_has_its_turn(pool: ThreadPool, gate: Gate) -> None:
    futures = [pool.submit(gate.pass_through) for _ in range(20)]
    gate.open()
    assert await within(asyncio.gather(*futures)) == ["through"] * 20
    assert gate.most <= 2


async def test_work_that_has_not_begun_is_dropped_with_its_caller(pool: ThreadPool, gate: Gate) -> None:
    done: list[int] = []
    futures = [pool.submit(gate.pass_through) for _ in range(2)]
    dropped = pool.submit(done.append, 1)
    dropped.cancel()
    last = pool.submit(done.append, 2)
    gate.open()
    await within(asyncio.gather(*futures, last))
    assert done == [2]


async def test_a_cancelled_caller_gets_its_thread_back_to_the_pool(pool: ThreadPool, gate: Gate) -> None:
    for future in [pool.submit(gate.pass_through) for _ in range(2)]:
        future.cancel()
    gate.open()
    assert await within(pool.run(int, "7")) == 7


async def test_a_stuck_thread_is_replaced(pool: ThreadPool, gate: Gate) -> None:
    stuck = [pool.submit(gate.pass_through, limit_s=0.05) for _ in range(2)]
    with pytest.raises(StuckError, match=r"no answer within 0\.05 s"):
        await within(stuck[0])
    assert await within(pool.run(int, "7")) == 7
    await asyncio.wait(stuck)
    assert isinstance(stuck[1].exception(), TimeoutError)


async def test_work_within_its_limit_is_not_stuck(pool: ThreadPool) -> None:
    assert await pool.run(int, "7", limit_s=PATIENCE_S) == 7


async def test_beyond_its_stuck_threads_a_pool_refuses_until_one_has_ended(
    pool: ThreadPool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STUCK_THREADS", 3)
    futures = [pool.submit(gate.pass_through, limit_s=0.01) for _ in range(3)]
    await within(asyncio.wait(futures))
    with pytest.raises(StuckError, match="3 earlier operations of test pool are stuck"):
        await pool.run(int, "7")
    gate.open()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                assert await pool.run(int, "7") == 7
                break
            except StuckError:
                await asyncio.sleep(0)


async def test_a_share_takes_no_more_than_its_part(pool: ThreadPool, gate: Gate) -> None:
    one, other = pool.share(1), pool.share(1)
    held = [one.submit(gate.pass_through) for _ in range(5)]
    assert await within(other.run(int, "7")) == 7
    gate.open()
    assert await within(asyncio.gather(*held)) == ["through"] * 5
    assert gate.most == 1


async def test_a_share_whose_work_is_stuck_is_refused_and_others_go_on(pool: ThreadPool, gate: Gate) -> None:
    one, other = pool.share(2), pool.share(1)
    for _ in range(limits.STUCK_THREADS_SHARE):
        with pytest.raises(StuckError):
            await within(one.run(gate.pass_through, limit_s=0.01))
    with pytest.raises(StuckError, match="earlier operations of this job are stuck"):
        await one.run(int, "7")
    assert await within(other.run(int, "7")) == 7


async def test_dropped_work_of_a_share_leaves_room_for_the_next(pool: ThreadPool, gate: Gate) -> None:
    share = pool.share(1)
    held = [pool.submit(gate.pass_through) for _ in range(2)]
    share.submit(int, "1").cancel()
    last = share.submit(int, "2")
    gate.open()
    assert await within(last) == 2
    await asyncio.gather(*held)


async def test_closed_it_takes_nothing_and_waits_for_what_it_has(gate: Gate) -> None:
    pool = ThreadPool("closing", 1)
    futures = [pool.submit(gate.pass_through) for _ in range(2)]
    closing = asyncio.ensure_future(pool.close(PATIENCE_S))
    await asyncio.sleep(0)
    with pytest.raises(EndingError, match="closing is closed"):
        await pool.run(int)
    assert not closing.done()
    gate.open()
    await within(closing)
    assert [future.result() for future in futures] == ["through"] * 2


async def test_closing_waits_no_longer_than_its_grace(gate: Gate) -> None:
    pool = ThreadPool("closing", 1)
    held, waiting = pool.submit(gate.pass_through), pool.submit(int)
    await within(pool.close(0.01))
    with pytest.raises(EndingError, match="closing is closed"):
        await waiting
    gate.open()
    assert await within(held) == "through"


async def test_an_idle_thread_keeps_nothing_alive(pool: ThreadPool) -> None:
    held = Gate()
    held.open()
    await pool.run(held.pass_through)
    kept = weakref.ref(held)
    del held
    await pool.run(int)  # the same thread, past the work before
    gc.collect()
    assert kept() is None


def test_the_process_ends_while_a_thread_is_stuck() -> None:
    source = """
import asyncio, threading
from pagent.errors import StuckError
from pagent.runtime.threads import ThreadPool
async def main():
    try:
        await ThreadPool("stuck", 1).run(threading.Event().wait, limit_s=0.01)
    except StuckError:
        print("ended")
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (ended.stdout, ended.returncode) == ("ended\n", 0)


async def test_slow_work_does_not_hold_up_the_work_of_others(
    pool: ThreadPool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagent.runtime.threads.THREAD_PATIENCE_S", 0.05)
    slow = [pool.submit(gate.pass_through, limit_s=PATIENCE_S) for _ in range(4)]  # of a pool of two
    slow += [pool.submit(gate.pass_through) for _ in range(2)]
    assert await within(pool.run(int)) == 0
    gate.open()
    assert await within(asyncio.gather(*slow)) == ["through"] * 6
    monkeypatch.setattr("pagent.runtime.threads.THREAD_PATIENCE_S", PATIENCE_S)
    gate_of_later = Gate()
    later = [pool.submit(gate_of_later.pass_through) for _ in range(6)]
    gate_of_later.open()
    await within(asyncio.gather(*later))
    assert gate_of_later.most <= 2


async def test_slow_work_still_has_its_limit(pool: ThreadPool, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.runtime.threads.THREAD_PATIENCE_S", 0.01)
    with pytest.raises(StuckError):
        await within(pool.run(gate.pass_through, limit_s=0.1))


async def test_work_that_gives_back_runs_whatever_is_stuck(pool: ThreadPool, gate: Gate) -> None:
    share = pool.share(1)
    for _ in range(limits.STUCK_THREADS_SHARE):
        with pytest.raises(StuckError):
            await within(share.run(gate.pass_through, limit_s=0.01))
    with pytest.raises(StuckError):
        await within(share.run(int))
    assert await within(share.submit(int, always=True)) == 0
