"""The brake on a clock of its own: when it stops the reading of a link, and when it leaves it alone."""

from __future__ import annotations

from typing import Any

import pytest

from pagent.limits import BRAKE_LINK_REST_S, BRAKE_MAX_S, BRAKE_STREAM_REST_MAX_S, BRAKE_STREAM_REST_S
from pagent.rpc.brake import Brake
from tests.kit.ends import HandLoop


class Stream:
    brake_rest = 0.0
    brake_rest_s = 0.0


class Rig:
    """A brake whose time passes when a test says so; ``chokes`` are what it told the link."""

    def __init__(self) -> None:
        self.clock = HandLoop()
        self.chokes: list[bool] = []
        self.brake: Any = Brake(self.chokes.append)
        self.brake._loop = self.clock


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_a_stream_that_catches_up_lets_the_link_go_on_and_may_brake_again(rig: Rig) -> None:
    stream = Stream()
    for _ in range(3):
        rig.brake.press(stream)
        rig.clock.advance(BRAKE_MAX_S / 2)
        rig.brake.lift(stream)
    assert rig.chokes == [True, False] * 3
    rig.clock.advance(BRAKE_MAX_S)
    assert rig.chokes == [True, False] * 3


async def test_nothing_waits_longer_than_the_bound(rig: Rig) -> None:
    stream = Stream()
    rig.brake.press(stream)
    rig.clock.advance(BRAKE_MAX_S)
    assert rig.chokes == [True, False]


async def test_a_stream_that_braked_in_vain_may_not_do_so_again_for_a_while_and_longer_each_time(rig: Rig) -> None:
    stream = Stream()
    rests = []
    for _ in range(8):
        rig.brake.press(stream)
        rig.clock.advance(BRAKE_MAX_S)
        began = rig.clock.time()
        pressed = len(rig.chokes)
        while len(rig.chokes) == pressed:
            rig.clock.advance(0.001)
            rig.brake.press(stream)
        rests.append(rig.clock.time() - began)
        rig.brake._release()  # neither in vain nor not
    assert rests == pytest.approx(
        [min(BRAKE_STREAM_REST_S * 2**n, BRAKE_STREAM_REST_MAX_S) for n in range(8)], abs=0.002
    )


async def test_who_catches_up_is_forgiven(rig: Rig) -> None:
    stream = Stream()
    for _ in range(3):
        rig.brake.press(stream)
        rig.clock.advance(BRAKE_MAX_S)
        rig.clock.advance(BRAKE_STREAM_REST_MAX_S)
    assert stream.brake_rest_s == 4 * BRAKE_STREAM_REST_S
    rig.brake.press(stream)
    rig.brake.lift(stream)
    rig.brake.press(stream)
    rig.clock.advance(BRAKE_MAX_S)
    assert stream.brake_rest_s == BRAKE_STREAM_REST_S


async def test_a_thousand_streams_that_stall_take_a_fifth_of_the_time_at_most(rig: Rig) -> None:
    streams = [Stream() for _ in range(1000)]
    stopped_s = 0.0
    for step in range(10_000):
        for stream in streams[step % 10 :: 10]:
            rig.brake.press(stream)
        stopped_s += 0.0001 * (sum(rig.chokes) * 2 > len(rig.chokes))
        rig.clock.advance(0.0001)
    assert 0 < stopped_s <= BRAKE_MAX_S / (BRAKE_MAX_S + BRAKE_LINK_REST_S) + 0.02


async def test_only_the_stream_that_braked_lets_go(rig: Rig) -> None:
    first, second = Stream(), Stream()
    rig.brake.press(first)
    rig.brake.press(second)
    rig.brake.lift(second)
    assert rig.chokes == [True]
    rig.brake.lift(first)
    assert rig.chokes == [True, False]
