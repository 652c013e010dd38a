"""Timers that judge silence, after stalls of the process."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from weakref import ref

import pytest

from pagent.runtime.silence import GRACE_S, SilenceLimit, SilenceTimer, silence_for
from tests.kit.peer import PATIENCE_S
from tests.kit.stepped import SteppedLoop

STALL_S = 0.3


def stall() -> None:
    """Hold up the loop once it runs again."""
    asyncio.get_running_loop().call_soon(time.sleep, STALL_S)


@pytest.fixture(autouse=True)
def short_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.runtime.silence.STALL_S", STALL_S / 3)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


async def test_a_timer_without_a_stall_expires_in_time() -> None:
    expired = asyncio.get_running_loop().create_future()
    SilenceTimer(0.01, expired.set_result, "it")
    async with asyncio.timeout(PATIENCE_S):
        assert await expired == "it"


@pytest.mark.parametrize("seconds", [0.0, -5.0])
async def test_a_time_that_is_over_already_is_no_stall(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.runtime.silence.STALL_S", 4.0)
    expired: list[str] = []
    later = asyncio.get_running_loop().create_future()
    SilenceTimer(seconds, expired.append, "it")
    asyncio.get_running_loop().call_later(0, lambda: later.set_result([*expired]))
    assert await later == ["it"]  # without a second wait


async def test_a_cancelled_timer_does_not_expire() -> None:
    expired: list[int] = []
    SilenceTimer(0.0, expired.append, 1).cancel()
    later = asyncio.get_running_loop().create_future()
    SilenceTimer(0.02, later.set_result, None)
    await later
    assert not expired


async def test_what_arrived_in_a_stall_is_read_before_the_timer_expires(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    happened: list[str] = []
    over = asyncio.get_running_loop().create_future()

    def readable() -> None:
        asyncio.get_running_loop().remove_reader(ours)
        happened.append("read")

    def expire() -> None:
        happened.append("expired")
        over.set_result(None)

    asyncio.get_running_loop().add_reader(ours, readable)
    SilenceTimer(0.05, expire)
    theirs.send(b"x")
    stall()
    await over
    assert happened == ["read", "expired"]


async def test_a_timer_that_is_late_twice_expires() -> None:
    loop = asyncio.get_running_loop()
    expired = loop.create_future()
    SilenceTimer(0.05, expired.set_result, None)
    loop.call_later(0.06, time.sleep, STALL_S)
    stall()
    async with asyncio.timeout(PATIENCE_S):
        await expired


async def test_a_limit_ends_a_block_that_takes_longer() -> None:
    with pytest.raises(TimeoutError):
        async with SilenceLimit(0.01):
            await asyncio.Event().wait()


async def test_a_limit_lets_a_block_end_with_what_arrived_in_a_stall(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    async with SilenceLimit(0.05):
        reading = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(ours, 1))
        await asyncio.sleep(0)
        theirs.send(b"x")
        stall()
        assert await reading == b"x"


async def test_a_limit_of_none_ends_no_block() -> None:
    async with SilenceLimit(None):
        await asyncio.sleep(0)


async def test_a_limit_that_was_left_does_not_expire() -> None:
    async with SilenceLimit(0.01):
        pass
    later = asyncio.get_running_loop().create_future()
    SilenceTimer(0.03, later.set_result, None)
    await later


async def test_sleep() -> None:
    async with asyncio.timeout(PATIENCE_S):
        await silence_for(0.01)
    sleeping = asyncio.ensure_future(silence_for(0.01))
    await asyncio.sleep(0)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping


async def test_an_error_passes_a_limit() -> None:
    with pytest.raises(ValueError, match="it"):
        async with SilenceLimit(1.0):
            raise ValueError("it")


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("seconds", [0.0, 60.0])
async def test_a_limit_that_was_left_keeps_neither_itself_nor_its_task(seconds: float) -> None:
    limits: list[ref[SilenceLimit]] = []

    async def limited() -> None:
        limit = SilenceLimit(seconds)
        limits.append(ref(limit))
        with suppress(TimeoutError):
            async with limit:
                await asyncio.sleep(0 if seconds else PATIENCE_S)

    task = asyncio.ensure_future(limited())
    await task
    of_task = ref(task)
    del task
    await asyncio.sleep(0)
    assert limits[0]() is None
    assert of_task() is None


@pytest.mark.usefixtures("without_collector")
async def test_an_expired_timer_is_not_kept() -> None:
    expired = asyncio.get_running_loop().create_future()
    timer = ref(SilenceTimer(0.0, expired.set_result, None))
    await expired
    await asyncio.sleep(0)
    assert timer() is None


async def test_a_cancellation_from_outside_is_not_taken_for_the_end_of_a_limit() -> None:
    async def limited() -> None:
        async with SilenceLimit(0.0):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(limited())
    await asyncio.sleep(0)  # the limit begins
    SilenceTimer(0.0, task.cancel)  # in the iteration in which the limit ends
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_of_two_limits_that_end_together_the_outer_one_reports_it() -> None:
    async def within_both() -> None:
        async with SilenceLimit(0.0), SilenceLimit(0.0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await within_both()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_error_at_the_end_of_a_limit_is_not_replaced() -> None:
    async def fails_at_its_end() -> None:
        async with SilenceLimit(0.0):
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("it")

    with pytest.raises(ValueError, match="it"):
        await fails_at_its_end()
    await asyncio.sleep(0)  # the task is not cancelled any more


def test_on_a_loop_that_is_always_late_a_limit_is_exceeded_by_the_grace() -> None:
    with closing(SteppedLoop()) as loop:

        async def limited() -> float:
            began = loop.time()
            with pytest.raises(TimeoutError):
                async with SilenceLimit(60.0):
                    await loop.create_future()
            return loop.time() - began

        task = loop.create_task(limited())
        while not task.done():
            loop.pass_time(step := 3.5)
        assert 60.0 < task.result() <= 60.0 + GRACE_S + 2 * step


def test_a_sleep_that_is_cancelled_as_it_ends_reports_no_error() -> None:
    errors: list[object] = []
    with closing(SteppedLoop()) as loop:
        loop.set_exception_handler(lambda _, context: errors.append(context))
        sleeping = loop.create_task(silence_for(1.0))
        loop.pass_time(0.0)
        loop.call_later(0.9, sleeping.cancel)  # in the iteration in which the timer of the sleep is due
        loop.pass_time(1.0)
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(sleeping)
    assert not errors
