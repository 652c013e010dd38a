"""Timers that judge silence, after stalls of the process."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from pagent.runtime.silence import SilenceLimit, SilenceTimer, silence_for
from tests.kit.peer import PATIENCE_S

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
async def test_a_time_that_is_over_already_is_no_stall(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    expired = loop.create_future()
    began = loop.time()
    SilenceTimer(seconds, expired.set_result, None)
    await expired
    assert loop.time() - began < PATIENCE_S


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
