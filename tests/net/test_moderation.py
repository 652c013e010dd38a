"""A loop rests between turns that carry little, where that lets more through; never for long, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from pagent.net.moderation import Moderation


class World:
    """A link's turns in a time of our own. ``cost``: what a turn takes if the last one ended in a rest, or did not."""

    def __init__(self, cost: Callable[[bool], float]) -> None:
        self.now = 1000.0
        self.rested = 0.0
        self.rests: list[tuple[float, float]] = []
        self.cost = cost
        self.moderation = Moderation(lambda: self.now, self.rest)

    def rest(self, seconds: float) -> None:
        assert seconds > 0
        self.rests.append((self.now, self.now + seconds))
        self.rested += seconds
        self.now += seconds

    def run(self, seconds: float, messages: int = 4) -> float:
        """Turns with so many messages for so long; the part of the time that was rested."""
        began, rested = self.now, self.rested
        count = len(self.rests)
        while self.now < began + seconds:
            self.now += self.cost(len(self.rests) > count)
            count = len(self.rests)
            self.moderation.sent(messages)
        return (self.rested - rested) / (self.now - began)


def helped() -> World:
    """A rest saves most of the next eight turns of 0.05 ms."""
    saved = 0

    def cost(rested: bool) -> float:
        nonlocal saved
        saved = 8 if rested else max(saved - 1, 0)
        return 0.00001 if saved else 0.00005

    return World(cost)


def test_rests_where_more_goes_through() -> None:
    world = helped()
    world.run(2)
    assert world.run(2) > 0.08


def test_seldom_rests_where_that_only_delays() -> None:
    world = World(lambda rested: 0.00005)
    world.run(2)
    assert 0 < world.run(2) < 0.02


def test_seldom_rests_where_as_much_goes_through() -> None:
    """The load is set by who sends: what comes during a rest is dealt with behind it."""
    world = World(lambda rested: 0.00005)
    last = world.now

    def run(seconds: float) -> float:
        nonlocal last
        began, rested = world.now, world.rested
        while world.now < began + seconds:
            world.now += 0.00005
            messages, last = round((world.now - last) * 80_000), world.now
            world.moderation.sent(messages)
        return (world.rested - rested) / (world.now - began)

    run(2)
    assert run(2) < 0.02


def test_loads_in_bursts_rest_as_well() -> None:
    """The time between them counts neither for rests nor against them."""
    world = helped()
    world.run(2)
    rested = world.rested
    for _ in range(10):
        world.now += 60
        world.run(0.5)
    assert world.rested - rested > 10 * 0.5 * 0.08


def test_finds_out_when_it_has_become_the_other_way() -> None:
    behind_a_rest = 0.00001
    world = World(lambda rested: behind_a_rest if rested else 0.0003)
    world.run(2, 12)
    assert world.run(2, 12) > 0.08
    behind_a_rest = 0.0004
    world.run(2, 12)
    assert world.run(2, 12) < 0.02


def test_does_not_rest_without_load() -> None:
    world = World(lambda rested: 0.0002)
    world.run(3)
    assert world.rests == []


def test_does_not_rest_behind_a_full_turn() -> None:
    world = World(lambda rested: 0.0002)
    world.run(3, 64)
    assert world.rests == []


def test_does_not_rest_when_the_load_has_ended() -> None:
    """One that comes after a while is not taken for a part of what was before."""
    world = World(lambda rested: 0.00001 if rested else 0.00005)
    world.run(2)
    assert world.rests
    world.now += 60
    before = len(world.rests)
    for _ in range(1000):
        world.now += 0.001
        world.moderation.sent(1)
    assert len(world.rests) == before


TURNS = st.tuples(st.floats(0, 0.0003), st.integers(1, 40), st.integers(1, 500))


@given(st.lists(TURNS, max_size=40))
def test_rests_a_bounded_part_of_the_time(phases: list[tuple[float, int, int]]) -> None:
    """Whatever comes: rests are short, and no two are near each other."""
    world = World(lambda rested: 0.00005)
    world.run(0.4)
    assert world.rests
    for seconds, messages, turns in phases:
        for _ in range(turns):
            world.now += seconds
            world.moderation.sent(messages)
    assert all(ended - began <= 0.0003 for began, ended in world.rests)
    for (_, ended), (began, _) in zip(world.rests, world.rests[1:], strict=False):
        assert began - ended >= 0.0004
