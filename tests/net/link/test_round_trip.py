from __future__ import annotations

from pagent.net.link.round_trip import RoundTrip


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def measured(*times: float) -> float:
    """Return the shortest round trip after pings that took these times."""
    clock = Clock()
    trip = RoundTrip(clock)
    for took in times:
        trip.begin()
        clock.now += took
        trip.end()
    return trip.shortest_s


def test_nothing_is_known_before_the_first_answer() -> None:
    trip = RoundTrip(Clock())
    assert trip.shortest_s == 0
    trip.begin()
    assert trip.shortest_s == 0


def test_queues_do_not_make_it_longer_at_once() -> None:
    assert measured(4.0) == 4.0
    assert measured(4.0, 1.0) == 1.0
    assert measured(1.0, 1.5) == 1.5
    assert measured(1.0, 64.0) == 2.0


def test_a_path_that_has_become_longer_is_learnt_within_a_few_pings() -> None:
    assert measured(1.0, *[64.0] * 6) == 64.0


def test_an_answer_without_a_ping_counts_for_nothing() -> None:
    clock = Clock()
    trip = RoundTrip(clock)
    trip.end()
    trip.begin()
    clock.now += 2
    trip.end()
    clock.now += 50
    trip.end()  # a pong that was not asked for
    assert trip.shortest_s == 2


def test_the_latest_ping_counts() -> None:
    clock = Clock()
    trip = RoundTrip(clock)
    trip.begin()
    clock.now += 10
    trip.begin()
    clock.now += 1
    trip.end()
    assert trip.shortest_s == 1
