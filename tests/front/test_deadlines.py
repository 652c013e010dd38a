"""Deadlines of many connections with one timer, on a clock of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from pagent.front.deadlines import DRAIN_IDLE_S, NEVER, Deadlines
from tests.kit.stepped import SteppedLoop


class Connection:
    """Records what is asked of it, and goes as a connection of a user does."""

    def __init__(self, deadlines: Deadlines, deadline: float = NEVER, *, is_idle: bool = False) -> None:
        self.deadline = deadline
        self.is_idle = is_idle
        self.asked: list[str] = []
        self.deadlines = deadlines

    def expired(self) -> None:
        self._end("expired")

    def drop(self) -> None:
        self._end("dropped")

    def drain(self) -> None:
        self.asked.append("drained")
        if self.is_idle:
            self.deadline = asyncio.get_running_loop().time() + self.deadlines.idle_s

    def refuse(self) -> None:
        self._end("refused")

    def _end(self, how: str) -> None:
        self.asked.append(how)
        self.deadlines.discard(self)


def added(loop: SteppedLoop, deadlines: Deadlines, left_s: float = NEVER, *, is_idle: bool = False) -> Connection:
    """Return a new connection whose deadline is in ``left_s`` seconds."""

    async def add() -> Connection:
        connection = Connection(deadlines, loop.time() + left_s, is_idle=is_idle)
        deadlines.add(connection)
        return connection

    return loop.run_until_complete(add())


@pytest.fixture
def loop() -> Iterator[SteppedLoop]:
    loop = SteppedLoop()
    yield loop
    loop.close()


def made(loop: SteppedLoop, idle_s: float = 60.0, shortest: float = 10.0) -> Deadlines:
    async def make() -> Deadlines:
        return Deadlines(idle_s, shortest)

    return loop.run_until_complete(make())


def test_connections_expire_at_most_one_check_late(loop: SteppedLoop) -> None:
    deadlines = made(loop)
    early, late = added(loop, deadlines, 2.5), added(loop, deadlines, 5)
    never = added(loop, deadlines)
    for _ in range(2):
        loop.pass_time(1.0)
    assert early.asked == []
    for _ in range(2):
        loop.pass_time(1.0)
    assert (early.asked, late.asked, len(deadlines)) == (["expired"], [], 2)
    for _ in range(100):
        loop.pass_time(1.0)
    assert (late.asked, never.asked, len(deadlines)) == (["expired"], [], 1)
    deadlines.drop_all()
    assert (never.asked, len(deadlines)) == (["dropped"], 0)


def test_a_short_limit_is_checked_often(loop: SteppedLoop) -> None:
    deadlines = made(loop, shortest=0.2)
    short = added(loop, deadlines, 0.2)
    for _ in range(5):
        loop.pass_time(0.06)
    assert short.asked == ["expired"]


def test_the_timer_starts_again_after_all_connections_have_gone(loop: SteppedLoop) -> None:
    deadlines = made(loop)
    for _ in range(2):
        connection = added(loop, deadlines, 1)
        for _ in range(3):
            loop.pass_time(1.0)
        assert connection.asked == ["expired"]


def test_all_that_are_due_expire_in_one_check(loop: SteppedLoop) -> None:
    """Each of them removes itself from the table during the check."""
    deadlines = made(loop)
    due = [added(loop, deadlines, 0) for _ in range(5)]
    loop.pass_time(1.0)
    assert [each.asked for each in due] == [["expired"]] * 5


def test_which_connection_makes_room(loop: SteppedLoop) -> None:
    deadlines = made(loop)
    assert not deadlines.drop_idle()
    busy = added(loop, deadlines)
    newer, longest = (added(loop, deadlines, left, is_idle=True) for left in (50, 20))
    for each in (busy, newer, longest):
        deadlines.used(each)
    first, second = added(loop, deadlines), added(loop, deadlines)
    for each in (first, second, longest, newer):
        assert deadlines.drop_idle()
        assert each.asked == ["dropped"]
    assert not deadlines.drop_idle()
    assert busy.asked == []
    deadlines.drop_all()


def drained(loop: SteppedLoop, deadlines: Deadlines) -> tuple[asyncio.Task[None], asyncio.Event]:
    over = asyncio.Event()
    task = loop.create_task(deadlines.drain(over))
    for _ in range(5):
        loop.pass_time(0.0)
    return task, over


def test_a_drain_ends_with_the_last_request(loop: SteppedLoop) -> None:
    deadlines = made(loop)
    busy, idle = added(loop, deadlines), added(loop, deadlines, is_idle=True)
    task, _ = drained(loop, deadlines)
    assert deadlines.draining
    assert (busy.asked, idle.asked) == (["drained"], ["drained"])
    loop.pass_time(DRAIN_IDLE_S)
    assert (idle.asked, task.done()) == (["drained", "expired"], False)
    deadlines.discard(busy)
    loop.run_until_complete(task)
    assert busy.asked == ["drained"]
    deadlines.drop_all()


def test_requests_that_are_left_are_refused(loop: SteppedLoop) -> None:
    deadlines = made(loop)
    busy = [added(loop, deadlines) for _ in range(3)]
    task, over = drained(loop, deadlines)
    over.set()
    loop.run_until_complete(task)
    assert [each.asked for each in busy] == [["drained", "refused"]] * 3
    deadlines.drop_all()


def test_a_drain_without_connections_ends_at_once(loop: SteppedLoop) -> None:
    deadlines = made(loop)
    task, _ = drained(loop, deadlines)
    assert task.done()
