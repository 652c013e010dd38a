"""Credit of a sender and a receiver: the bytes that one may send are those that the other allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.limits import STREAM_WINDOW, STREAM_WINDOW_MAX
from pagent.wire.window import ReceiveWindow

SIZE = 1000


@given(st.lists(st.one_of(st.integers(64, 3 * SIZE), st.none(), st.just(0)), max_size=60))
def test_an_honest_sender_is_never_refused_and_never_stuck(steps: list[int | None]) -> None:
    """A number sends a message of that cost if there is credit; None lets the receiver use the oldest one.

    With 0 the receiver sends data of its own, and returns credit with it.
    """
    window = ReceiveWindow(SIZE)
    credit = SIZE
    waiting: list[int] = []
    for step in steps:
        if step is None:
            if waiting:
                credit += window.used(waiting.pop(0))
        elif step == 0:
            credit += window.piggybacked()
        elif credit > 0:
            credit -= step
            waiting.append(step)
            assert window.arrived(step)
        assert credit <= SIZE
    while waiting:
        credit += window.used(waiting.pop(0))
    assert credit > SIZE // 2


@given(st.lists(st.integers(64, SIZE), max_size=40))
def test_a_sender_that_overlooks_the_credit_is_found_out(costs: list[int]) -> None:
    window = ReceiveWindow(SIZE)
    sent = 0
    for cost in costs:
        assert window.arrived(cost) is (sent < SIZE)
        sent += cost


def test_credit_goes_back_in_halves_of_the_window() -> None:
    window = ReceiveWindow(SIZE)
    for _ in range(10):
        window.arrived(100)
    assert [window.used(100) for _ in range(10)] == [0, 0, 0, 0, 500, 0, 0, 0, 0, 500]


def test_credit_goes_back_with_other_data_from_three_quarters_of_a_step_on() -> None:
    window = ReceiveWindow(SIZE)
    for _ in range(7):
        window.arrived(100)
    assert window.piggybacked() == 0
    assert [window.used(100) for _ in range(3)] == [0, 0, 0]
    assert window.piggybacked() == 0
    assert window.used(100) == 0
    assert window.piggybacked() == 400
    assert window.piggybacked() == 0
    assert window.available == SIZE - 300
    assert window.used(300) == 0  # what has gone back is not due again


def test_a_message_may_overshoot_and_all_of_it_comes_back() -> None:
    window = ReceiveWindow(SIZE)
    assert window.arrived(999)
    assert window.arrived(5000)
    assert not window.arrived(64)
    assert window.used(999) == 999
    assert not window.arrived(64)
    assert window.used(5000) == 5000


def use(window: ReceiveWindow, cost: int, now_s: float, round_trip_s: float) -> int:
    """Let bytes arrive and be used; return the sum of the credit that is returned."""
    window.arrived(cost)
    returned = window.used(cost)
    assert returned == cost
    return returned + window.grown(returned, now_s, round_trip_s)


def test_a_window_that_is_used_faster_than_its_credit_can_travel_grows_with_the_rate_up_to_the_bound() -> None:
    window = ReceiveWindow()
    sizes = []
    now_s = 0.0
    for rate in (5e6, 5e6, 10e6, 20e6, 40e6, 80e6, 160e6):
        now_s += STREAM_WINDOW / rate
        use(window, STREAM_WINDOW, now_s, 0.05)
        sizes.append(window.size)
    assert sizes == [STREAM_WINDOW, 500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000, STREAM_WINDOW_MAX]


def test_a_burst_makes_it_grow_by_a_factor_of_eight_at_most() -> None:
    window = ReceiveWindow()
    use(window, STREAM_WINDOW, 1.0, 0.05)
    use(window, STREAM_WINDOW, 1.0, 0.05)
    assert window.size == 8 * STREAM_WINDOW


def test_what_it_grows_by_may_be_sent() -> None:
    window = ReceiveWindow(SIZE)
    window.grown(SIZE // 2, 0.0, 0.05)
    assert window.grown(SIZE // 2, 0.025, 0.05) == SIZE
    for _ in range(2 * SIZE // 100):
        assert window.arrived(100)
    assert not window.arrived(1)


@pytest.mark.parametrize("round_trip_s", [0.0, 0.05])
def test_a_window_that_is_large_enough_or_of_a_way_of_unknown_length_stays(round_trip_s: float) -> None:
    window = ReceiveWindow(SIZE)
    for turn in range(8):
        assert use(window, SIZE // 2, turn * 0.05, round_trip_s) == SIZE // 2
    assert window.size == SIZE
