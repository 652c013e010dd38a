"""When the read throttle pauses the reading of a link, on a clock that the test moves."""

from __future__ import annotations

import pytest

from pagent.rpc.throttle import (
    THROTTLE_BUDGET_S,
    THROTTLE_DISK_S,
    THROTTLE_JOB_S,
    THROTTLE_READ_SHARE,
    THROTTLE_REFILL,
    THROTTLE_REST,
    THROTTLE_REST_MAX_S,
    THROTTLE_STEP,
    ReadThrottle,
)
from tests.kit.ends import HandLoop

JOB_S = THROTTLE_JOB_S
DISK_S = THROTTLE_DISK_S
READ_S = JOB_S / THROTTLE_READ_SHARE


class Queue:
    pause_after = 0.0
    pause_rest_s = 0.0


class Rig:
    """A throttle with a clock of its own. ``pauses`` has True for each pause and False for its end."""

    def __init__(self) -> None:
        self.clock = HandLoop()
        self.pauses: list[bool] = []
        self.owners: set[str] = set()
        self.throttle = ReadThrottle(self, self.clock)

    def pause_reading(self, owner: str) -> None:
        self.owners.add(owner)
        self.pauses.append(True)

    def resume_reading(self, owner: str) -> None:
        self.owners.add(owner)
        self.pauses.append(False)

    @property
    def paused(self) -> bool:
        return bool(self.pauses) and self.pauses[-1]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_queue_that_catches_up_may_pause_again_after_a_share_of_reading(rig: Rig) -> None:
    queue = Queue()
    for _ in range(100):
        rig.throttle.pause(queue, JOB_S)
        assert rig.paused
        rig.clock.advance(0.9 * JOB_S)
        rig.throttle.caught_up(queue)
        rig.throttle.pause(queue, JOB_S)
        assert not rig.paused
        rig.clock.advance(READ_S)
    assert rig.pauses == [True, False] * 100
    assert rig.owners == {"read throttle"}


@pytest.mark.parametrize("limit_s", [JOB_S, DISK_S])
def test_no_pause_is_longer_than_its_limit(rig: Rig, limit_s: float) -> None:
    rig.throttle.pause(Queue(), limit_s)
    rig.clock.advance(0.99 * limit_s)
    assert rig.paused
    rig.clock.advance(0.02 * limit_s)
    assert rig.pauses == [True, False]


def test_after_two_failed_pauses_a_queue_rests_longer_each_time(rig: Rig) -> None:
    queue = Queue()
    rests = []
    for _ in range(8):
        rig.throttle.pause(queue, JOB_S)
        assert rig.paused
        rig.clock.advance(JOB_S)
        began = rig.clock.time()
        while not rig.paused:
            rig.clock.advance(0.001)
            rig.throttle.pause(queue, JOB_S)
        rests.append(rig.clock.time() - began)
        rest_s = queue.pause_rest_s
        rig.throttle.caught_up(queue)
        queue.pause_rest_s = rest_s  # as if the pause had not happened
        rig.clock.advance(READ_S)
    doubled = [THROTTLE_REST * JOB_S * 2**n for n in range(7)]
    assert rests == pytest.approx([0.0, *(min(each, THROTTLE_REST_MAX_S) for each in doubled)], abs=0.002)


def test_a_queue_that_catches_up_does_not_rest_the_next_time(rig: Rig) -> None:
    queue = Queue()
    for _ in range(3):
        rig.throttle.pause(queue, JOB_S)
        rig.clock.advance(JOB_S)
        rig.clock.advance(THROTTLE_REST_MAX_S)
    assert queue.pause_rest_s == 4 * THROTTLE_REST * JOB_S
    rig.throttle.pause(queue, JOB_S)
    rig.throttle.caught_up(queue)
    assert queue.pause_rest_s == 0


def test_failed_pauses_of_a_thousand_queues_take_at_most_a_fifth_of_the_time(rig: Rig) -> None:
    queues = [Queue() for _ in range(1000)]
    paused_s = 0.0
    for step in range(50_000):
        for queue in queues[step % 100 :: 100]:
            rig.throttle.pause(queue, JOB_S)
        paused_s += 0.0001 * rig.paused
        rig.clock.advance(0.0001)
    assert 0.5 < paused_s <= 5 * THROTTLE_REFILL + THROTTLE_BUDGET_S + DISK_S


def test_the_link_is_read_for_its_share_of_the_time(rig: Rig) -> None:
    queues = [Queue() for _ in range(50)]
    paused_s = 0.0
    for step in range(20_000):
        for queue in queues:
            rig.throttle.pause(queue, DISK_S)
        if step % 50 == 49:
            for queue in queues:
                rig.throttle.caught_up(queue)
        paused_s += 0.0001 * rig.paused
        rig.clock.advance(0.0001)
    assert 1 < paused_s < 2 * THROTTLE_READ_SHARE / (THROTTLE_READ_SHARE + 1)


def test_only_the_queue_that_paused_resumes(rig: Rig) -> None:
    first, second = Queue(), Queue()
    rig.throttle.pause(first, JOB_S)
    rig.throttle.pause(second, JOB_S)
    rig.throttle.caught_up(second)
    assert rig.pauses == [True]
    rig.throttle.caught_up(first)
    assert rig.pauses == [True, False]


def test_a_spool_with_a_slow_disk_pauses_beyond_the_budget_step_by_step(rig: Rig) -> None:
    queue, spool = Queue(), Queue()
    while rig.throttle.budget_s > 0:
        rig.throttle.pause(queue, DISK_S)
        rig.clock.advance(0.01)
        queue.pause_after = 0.0
    rig.clock.advance(0.001)
    began = len(rig.pauses)
    for _ in range(5):
        rig.throttle.pause_for_spool(spool, THROTTLE_STEP // 2)
        rig.throttle.pause_for_spool(spool, THROTTLE_STEP // 2)
        assert rig.paused
        rig.clock.advance(DISK_S)
        assert not rig.paused
        rig.throttle.pause_for_spool(spool, THROTTLE_STEP // 2 - 1)
        assert not rig.paused
    assert rig.pauses[began:] == [True, False] * 5
