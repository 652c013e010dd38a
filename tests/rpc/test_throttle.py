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
    """A throttle with a clock of the test. ``pauses`` has True for each pause and False for its end."""

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
        rig.throttle.pause_for_job(queue)
        assert rig.paused
        rig.clock.advance(0.9 * JOB_S)
        rig.throttle.caught_up(queue)
        rig.throttle.pause_for_job(queue)
        assert not rig.paused
        rig.clock.advance(READ_S)
    assert rig.pauses == [True, False] * 100
    assert rig.owners == {"read throttle"}


def test_no_pause_is_longer_than_its_limit(rig: Rig) -> None:
    rig.throttle.pause_for_job(Queue())
    rig.clock.advance(0.99 * JOB_S)
    assert rig.paused
    rig.clock.advance(0.02 * JOB_S)
    assert rig.pauses == [True, False]
    rig.throttle.pause_for_disk(Queue(), THROTTLE_STEP)
    rig.clock.advance(0.99 * DISK_S)
    assert rig.paused
    rig.clock.advance(0.02 * DISK_S)
    assert rig.pauses == [True, False] * 2


def test_after_two_failed_pauses_a_queue_rests_longer_each_time(rig: Rig) -> None:
    queue = Queue()
    rests = []
    for _ in range(8):
        rig.throttle.pause_for_job(queue)
        assert rig.paused
        rig.clock.advance(JOB_S)
        began = rig.clock.time()
        while not rig.paused:
            rig.clock.advance(0.001)
            rig.throttle.pause_for_job(queue)
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
        rig.throttle.pause_for_job(queue)
        rig.clock.advance(JOB_S)
        rig.clock.advance(THROTTLE_REST_MAX_S)
    assert queue.pause_rest_s == 4 * THROTTLE_REST * JOB_S
    rig.throttle.pause_for_job(queue)
    rig.throttle.caught_up(queue)
    assert queue.pause_rest_s == 0


def test_failed_pauses_of_a_thousand_queues_take_at_most_a_fifth_of_the_time(rig: Rig) -> None:
    queues = [Queue() for _ in range(1000)]
    paused_s = 0.0
    for step in range(50_000):
        for queue in queues[step % 100 :: 100]:
            rig.throttle.pause_for_job(queue)
        paused_s += 0.0001 * rig.paused
        rig.clock.advance(0.0001)
    assert 0.5 < paused_s <= 1.03 * (5 * THROTTLE_REFILL + THROTTLE_BUDGET_S)  # a step is 2 % of a pause


def test_the_link_is_read_for_its_share_of_the_time(rig: Rig) -> None:
    queues = [Queue() for _ in range(50)]
    paused_s = 0.0
    for step in range(20_000):
        for queue in queues:
            rig.throttle.pause_for_job(queue)
        if step % 50 == 49:
            for queue in queues:
                rig.throttle.caught_up(queue)
        paused_s += 0.0001 * rig.paused
        rig.clock.advance(0.0001)
    assert 1 < paused_s < 2 * THROTTLE_READ_SHARE / (THROTTLE_READ_SHARE + 1)


def test_only_the_queue_that_paused_resumes(rig: Rig) -> None:
    first, second = Queue(), Queue()
    rig.throttle.pause_for_job(first)
    rig.throttle.pause_for_job(second)
    rig.throttle.caught_up(second)
    assert rig.pauses == [True]
    rig.throttle.caught_up(first)
    assert rig.pauses == [True, False]


def test_a_queue_for_a_disk_pauses_beyond_the_budget_step_by_step(rig: Rig) -> None:
    job, disk = Queue(), Queue()
    while rig.throttle.budget_s > 0:
        rig.throttle.pause_for_job(job)
        rig.clock.advance(JOB_S)
        job.pause_after = 0.0
    began = len(rig.pauses)
    for _ in range(5):
        rig.throttle.pause_for_disk(disk, THROTTLE_STEP // 2)
        rig.throttle.pause_for_disk(disk, THROTTLE_STEP // 2)
        assert rig.paused
        rig.clock.advance(DISK_S)
        assert not rig.paused
        rig.throttle.pause_for_disk(disk, THROTTLE_STEP // 2 - 1)
        assert not rig.paused
    assert rig.pauses[began:] == [True, False] * 5


def test_pauses_for_a_disk_are_not_charged_to_jobs(rig: Rig) -> None:
    disk = Queue()
    for _ in range(20):
        rig.throttle.pause_for_disk(disk, THROTTLE_STEP)
        rig.clock.advance(DISK_S)
    assert rig.throttle.budget_s == THROTTLE_BUDGET_S
    assert (disk.pause_after, disk.pause_rest_s) == (0, 0)


def test_a_disk_that_catches_up_resumes_the_link(rig: Rig) -> None:
    disk = Queue()
    rig.throttle.pause_for_disk(disk, THROTTLE_STEP)
    rig.throttle.caught_up(disk)
    assert rig.pauses == [True, False]
    assert rig.clock.pending == 0
