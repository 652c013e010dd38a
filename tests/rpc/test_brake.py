"""The brake on a clock of its own: when it stops the reading of a link, and when it leaves it alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pagent.limits import BRAKE_LINK_REST_S, BRAKE_MAX_S, BRAKE_STREAM_REST_MAX_S, BRAKE_STREAM_REST_S
from pagent.rpc.brake import Brake


class Clock:
    """What the brake needs of a loop: a time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, Callable[[], None], asyncio.TimerHandle]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        handle = asyncio.get_running_loop().call_later(1e6, callback)
        self._timers.append((self.now + delay_s, callback, handle))
        return handle

    def passes(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self._timers if timer[0] <= self.now]
        self._timers = [timer for timer in self._timers if timer[0] > self.now]
        for _, callback, handle in due:
            if not handle.cancelled():
                handle.cancel()
                callback()


class Stream:
    brake_rest = 0.0
    brake_rest_s = 0.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Rig:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.chokes: list[bool] = []
        self.brake: Any = Brake(self.chokes.append)
        self.brake._loop = clock


@pytest.fixture
async def rig(clock: Clock) -> Rig:
    return Rig(clock)


async def test_a_stream_that_catches_up_lets_the_link_go_on_and_may_brake_again(rig: Rig) -> None:
    stream = Stream()
    for _ in range(3):
        rig.brake.press(stream)
        rig.clock.passes(BRAKE_MAX_S / 2)
        rig.brake.lift(stream)
    assert rig.chokes == [True, False] * 3
    rig.clock.passes(BRAKE_MAX_S)
    assert rig.chokes == [True, False] * 3


async def test_nothing_waits_longer_than_the_bound(rig: Rig) -> None:
    stream = Stream()
    rig.brake.press(stream)
    rig.clock.passes(BRAKE_MAX_S)
    assert rig.chokes == [True, False]


async def test_a_stream_that_braked_in_vain_may_not_do_so_again_for_a_while_and_longer_each_time(rig: Rig) -> None:
    stream = Stream()
    rests = []
    for _ in range(8):
        rig.brake.press(stream)
        rig.clock.passes(BRAKE_MAX_S)
        began = rig.clock.now
        pressed = len(rig.chokes)
        while len(rig.chokes) == pressed:
            rig.clock.passes(0.001)
            rig.brake.press(stream)
        rests.append(rig.clock.now - began)
        rig.brake._release()  # neither in vain nor not
    assert rests == pytest.approx(
        [min(BRAKE_STREAM_REST_S * 2**n, BRAKE_STREAM_REST_MAX_S) for n in range(8)], abs=0.002
    )


async def test_who_catches_up_is_forgiven(rig: Rig) -> None:
    stream = Stream()
    for _ in range(3):
        rig.brake.press(stream)
        rig.clock.passes(BRAKE_MAX_S)
        rig.clock.passes(BRAKE_STREAM_REST_MAX_S)
    assert stream.brake_rest_s == 4 * BRAKE_STREAM_REST_S
    rig.brake.press(stream)
    rig.brake.lift(stream)
    rig.brake.press(stream)
    rig.clock.passes(BRAKE_MAX_S)
    assert stream.brake_rest_s == BRAKE_STREAM_REST_S


async def test_a_thousand_streams_that_stall_take_a_fifth_of_the_time_at_most(rig: Rig) -> None:
    streams = [Stream() for _ in range(1000)]
    stopped_s = 0.0
    for step in range(10_000):
        for stream in streams[step % 10 :: 10]:
            rig.brake.press(stream)
        stopped_s += 0.0001 * (sum(rig.chokes) * 2 > len(rig.chokes))
        rig.clock.passes(0.0001)
    assert 0 < stopped_s <= BRAKE_MAX_S / (BRAKE_MAX_S + BRAKE_LINK_REST_S) + 0.02


async def test_only_the_stream_that_braked_lets_go(rig: Rig) -> None:
    first, second = Stream(), Stream()
    rig.brake.press(first)
    rig.brake.press(second)
    rig.brake.lift(second)
    assert rig.chokes == [True]
    rig.brake.lift(first)
    assert rig.chokes == [True, False]
