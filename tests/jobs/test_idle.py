from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from pagent.jobs.activity import JobActivity
from pagent.jobs.idle import IdleStop
from tests.kit.stepped import SteppedLoop


class Watched(NamedTuple):
    loop: SteppedLoop
    activity: JobActivity
    stop: IdleStop
    #: The times at which the job was stopped, from the start.
    stopped: list[float]


@pytest.fixture
def watched() -> Iterator[Watched]:
    """A job that is stopped when it has been idle for 10 s."""
    loop = SteppedLoop()
    stopped: list[float] = []
    begun = loop.now

    async def make() -> Watched:
        activity = JobActivity()
        return Watched(loop, activity, IdleStop(activity, 10, lambda: stopped.append(loop.now - begun)), stopped)

    yield loop.run_until_complete(make())
    loop.close()


def step(watched: Watched, seconds: int) -> None:
    for _ in range(seconds):
        watched.loop.pass_time(1)


def test_a_job_that_is_not_used(watched: Watched) -> None:
    step(watched, 9)
    assert watched.stopped == []
    step(watched, 20)
    assert watched.stopped == [10]


def test_input_begins_the_time_anew(watched: Watched) -> None:
    for _ in range(5):
        step(watched, 9)
        watched.activity.input_arrived()
    step(watched, 9)
    assert watched.stopped == []
    step(watched, 9)
    assert watched.stopped == [55]


def test_an_open_request_keeps_the_job(watched: Watched) -> None:
    step(watched, 5)
    watched.activity.opened()
    step(watched, 1000)
    assert watched.stopped == []
    watched.activity.ended()
    step(watched, 9)
    assert watched.stopped == []
    step(watched, 10)
    assert watched.stopped == [1015]


def test_an_open_channel_does_not(watched: Watched) -> None:
    step(watched, 5)
    watched.activity.channel_opened()
    step(watched, 20)
    assert watched.stopped == [15]


def test_a_job_that_has_ended(watched: Watched) -> None:
    watched.stop.cancel()
    step(watched, 20)
    assert watched.stopped == []


def test_an_input_at_every_moment_sets_no_timer(watched: Watched) -> None:
    for _ in range(1000):
        watched.activity.input_arrived()
    step(watched, 20)
    assert watched.stopped == [10]
