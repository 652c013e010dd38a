"""The pacer on a simulated path, with the clock of the test."""

from __future__ import annotations

import asyncio
import heapq
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.limits import KIB, MIB
from pagent.net.link.pacer import PACER_ANSWER_S, PACER_CHANGE, PACER_LEAST, PACER_MOST, PACER_SHARED_S, Pacer
from tests.kit.ends import HeldTimers

PIECE = 64 * KIB


class Path:
    """A link whose peer answers when the test calls :meth:`answer`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.resumed = 0
        self.pacer = Pacer(self._resume, lambda: self.now)
        self.marks: list[tuple[int, bytes]] = []  # bytes sent before the mark, and the mark
        self.sent = 0

    def _resume(self) -> None:
        self.resumed += 1

    def send(self, stream: int, size: int = PIECE) -> None:
        self.sent += size
        mark = self.pacer.sent(stream, size)
        if mark is not None:
            self.marks.append((self.sent, mark))

    def answer(self, after: float = 0.0) -> int:
        self.now += after
        place, mark = self.marks.pop(0)
        self.pacer.answered(mark)
        return place

    def share(self, after: float = 0.0) -> None:
        """Two streams send until there is a mark, which is answered: from now on bulk may be held."""
        while not self.marks:
            self.send(1)
            self.send(2)
        while self.marks:
            self.answer(after)

    def fill(self) -> int:
        """Send until bulk is held; return the bytes sent."""
        before, turn = self.sent, 0
        while not self.pacer.held:
            self.send(1 + turn % 2)
            turn += 1
            assert self.sent - before <= 2 * PACER_MOST
        return self.sent - before


async def test_a_single_stream_is_not_bounded() -> None:
    path = Path()
    for _ in range(100 * MIB // PIECE):
        path.send(1)
    assert path.marks == []
    assert not path.pacer.held


async def test_streams_one_after_the_other_are_not_bounded() -> None:
    path = Path()
    for stream in range(20):
        for _ in range(PACER_CHANGE // PIECE):
            path.pacer.others_sent += stream != path.pacer.bulk_id  # its own head
            path.send(stream)
    assert path.marks == []


async def test_two_streams_at_once_are_held_once_the_peer_is_known_to_answer() -> None:
    path = Path()
    for _ in range(40 * MIB // PIECE):
        path.send(1)
        path.send(2)
    assert not path.pacer.held
    assert 0 < len(path.marks) <= 64  # no more while none is answered
    while path.marks:
        path.answer()
    taken = path.fill()
    assert taken <= PACER_LEAST + PIECE
    assert path.resumed == 0
    while path.marks:
        path.answer()
    assert not path.pacer.held
    assert path.resumed == 1


async def test_messages_of_others_between_the_pieces_count() -> None:
    path = Path()
    for _ in range(MIB // PIECE):
        path.send(1)
        path.pacer.others_sent += 1
    assert path.marks


async def test_the_bound_ends_with_the_other_streams() -> None:
    path = Path()
    path.share()
    path.now += PACER_SHARED_S + 0.01
    for _ in range(10 * MIB // PIECE):
        path.send(2)
    assert path.marks == []
    assert not path.pacer.held


async def test_a_pong_that_answers_no_mark_is_ignored() -> None:
    path = Path()
    path.share()
    path.fill()
    for garbage in (b"", bytes(8), b"\xff" * 8, b"\xff" * 125, b"hello"):
        path.pacer.answered(garbage)
    assert path.pacer.held
    _, mark = path.marks[-1]
    path.pacer.answered(mark)  # a peer may answer the last of several only (RFC 6455 5.5.3)
    assert not path.pacer.held
    path.pacer.answered(mark)
    assert path.resumed == 1


async def test_the_limit_grows_on_an_empty_path_and_shrinks_with_a_queue() -> None:
    path = Path()
    path.share(0.02)
    bounds = []
    for _ in range(60):
        bounds.append(path.fill())
        path.now += 0.02
        while path.marks:
            path.answer()
    assert bounds[0] <= PACER_LEAST + PIECE
    assert bounds[-1] > 8 * MIB
    for _ in range(60):
        path.fill()
        path.now += 0.2
        while path.marks:
            path.answer()
    assert path.fill() <= PACER_LEAST + PIECE


async def test_a_peer_that_stops_answering_does_not_hold_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = HeldTimers(monkeypatch, Pacer, PACER_ANSWER_S)
    path = Path()
    path.share()
    path.fill()
    path.answer()  # one answer arrives before the timer fires
    path.fill()
    assert timers.fire() == 1
    assert path.pacer.held
    resumed = path.resumed
    assert timers.fire() == 1
    assert not path.pacer.held
    assert path.resumed == resumed + 1
    for _ in range(10 * MIB // PIECE):
        path.send(1)
        path.send(2)
    assert not path.pacer.held
    path.answer()  # it answers again
    path.fill()
    path.pacer.stop()


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 300_000), st.integers(0, 2), st.floats(0, 0.1)), max_size=200)
)
def test_a_hold_always_ends_with_the_last_answer(steps: list[tuple[int, int, int, float]]) -> None:
    async def run() -> None:
        path = Path()
        for stream, size, answers, after in steps:
            if not path.pacer.held:
                path.send(stream, size)
            assert path.marks or not path.pacer.held
            for _ in range(min(answers, len(path.marks))):
                path.answer(after)
        while path.marks:
            path.answer()
        assert not path.pacer.held
        path.pacer.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("rate", "there_and_back", "jitter"),
    [(1.25e9, 0.001, 0.0005), (125e6, 0.02, 0.002), (125e6, 0.1, 0.005), (12.5e6, 0.05, 0.01), (1.25e6, 0.1, 0.02)],
)
async def test_the_path_is_used_and_its_queue_is_short(rate: float, there_and_back: float, jitter: float) -> None:
    """A path with a fixed rate, and two streams that always have data."""
    path, random = Path(), Random(1)
    answers: list[tuple[float, bytes]] = []
    begin, free, turn, used, queue = path.now, path.now, 0, 0, 0.0
    while path.now < begin + 4:
        settled = path.now > begin + 2
        while not path.pacer.held and free < path.now + 0.1:
            path.send(1 + turn % 2)
            turn += 1
            used += PIECE if settled else 0
            free = max(free, path.now) + PIECE / rate
            queue = max(queue, free - path.now if settled else 0.0)
            while path.marks:
                heapq.heappush(answers, (free + there_and_back + random.random() * jitter, path.marks.pop()[1]))
        path.now = answers[0][0] if path.pacer.held else min(answers[0][0] if answers else inf, path.now + PIECE / rate)
        while answers and answers[0][0] <= path.now:
            path.pacer.answered(heapq.heappop(answers)[1])
    assert used > 0.85 * 2 * rate
    assert queue < 2 * there_and_back + jitter + 2 * PACER_LEAST / rate
    path.pacer.stop()
