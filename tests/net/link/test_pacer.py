"""How much bulk may be under way: by hand, with a clock of the test's own."""

from __future__ import annotations

import asyncio
import heapq
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.limits import KIB, MIB
from pagent.net.link.pacer import PACE_CHANGE, PACE_LEAST, PACE_MOST, PACE_SHARED_S, Pacer

PIECE = 64 * KIB


class Way:
    """A link with a peer that answers when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.resumed = 0
        self.pacer = Pacer(self._resume, lambda: self.now)
        self.marks: list[tuple[int, bytes]] = []  # bytes sent before it, and what comes back
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
        """Two streams send until there is a mark, and it is answered: from now on bulk may be held."""
        while not self.marks:
            self.send(1)
            self.send(2)
        while self.marks:
            self.answer(after)

    def fill(self) -> int:
        """Send until bulk is held; the bytes it took."""
        before, turn = self.sent, 0
        while not self.pacer.held:
            self.send(1 + turn % 2)
            turn += 1
            assert self.sent - before <= 2 * PACE_MOST
        return self.sent - before


async def test_a_stream_that_is_alone_is_left_alone() -> None:
    way = Way()
    for _ in range(100 * MIB // PIECE):
        way.send(1)
    assert way.marks == []
    assert not way.pacer.held


async def test_so_are_those_that_come_one_behind_the_other() -> None:
    way = Way()
    for stream in range(20):
        for _ in range(PACE_CHANGE // PIECE):
            way.pacer.others_sent += stream != way.pacer.bulk_id  # its own head
            way.send(stream)
    assert way.marks == []


async def test_two_beside_each_other_are_held_once_the_peer_is_known_to_answer() -> None:
    way = Way()
    for _ in range(40 * MIB // PIECE):
        way.send(1)
        way.send(2)
    assert not way.pacer.held
    assert 0 < len(way.marks) <= 64  # that it is asked for in vain
    while way.marks:
        way.answer()
    taken = way.fill()
    assert taken <= PACE_LEAST + PIECE
    assert way.resumed == 0
    while way.marks:
        way.answer()
    assert not way.pacer.held
    assert way.resumed == 1


async def test_what_others_send_between_its_pieces_counts_too() -> None:
    way = Way()
    for _ in range(MIB // PIECE):
        way.send(1)
        way.pacer.others_sent += 1
    assert way.marks


async def test_it_ends_when_they_are_gone() -> None:
    way = Way()
    way.share()
    way.now += PACE_SHARED_S + 0.01
    for _ in range(10 * MIB // PIECE):
        way.send(2)
    assert way.marks == []
    assert not way.pacer.held


async def test_what_is_no_mark_changes_nothing() -> None:
    way = Way()
    way.share()
    way.fill()
    for garbage in (b"", bytes(8), b"\xff" * 8, b"\xff" * 125, b"hello"):
        way.pacer.answered(garbage)
    assert way.pacer.held
    _, mark = way.marks[-1]
    way.pacer.answered(mark)  # a peer may answer the last of several only (RFC 6455 5.5.3)
    assert not way.pacer.held
    way.pacer.answered(mark)
    assert way.resumed == 1


async def test_an_empty_way_carries_more_and_more_and_a_queue_shortens_it() -> None:
    way = Way()
    way.share(0.02)
    bounds = []
    for _ in range(60):
        bounds.append(way.fill())
        way.now += 0.02
        while way.marks:
            way.answer()
    assert bounds[0] <= PACE_LEAST + PIECE
    assert bounds[-1] > 8 * MIB
    for _ in range(60):
        way.fill()
        way.now += 0.2
        while way.marks:
            way.answer()
    assert way.fill() <= PACE_LEAST + PIECE


async def test_a_peer_that_answers_no_more_holds_nothing_up() -> None:
    way = Way()
    way.share()
    way.fill()
    count = way.pacer._count
    way.pacer._look(count - 1)  # one came back meanwhile
    assert way.pacer.held
    way.pacer._look(count)
    assert not way.pacer.held
    assert way.resumed == 1
    for _ in range(10 * MIB // PIECE):
        way.send(1)
        way.send(2)
    assert not way.pacer.held
    way.answer()  # it does again
    way.fill()
    way.pacer.stop()


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 300_000), st.integers(0, 2), st.floats(0, 0.1)), max_size=200)
)
def test_whatever_happens_a_hold_ends_with_the_last_answer(steps: list[tuple[int, int, int, float]]) -> None:
    async def run() -> None:
        way = Way()
        for stream, size, answers, after in steps:
            if not way.pacer.held:
                way.send(stream, size)
            assert way.marks or not way.pacer.held
            for _ in range(min(answers, len(way.marks))):
                way.answer(after)
        while way.marks:
            way.answer()
        assert not way.pacer.held
        way.pacer.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("rate", "there_and_back", "jitter"),
    [(1.25e9, 0.001, 0.0005), (125e6, 0.02, 0.002), (125e6, 0.1, 0.005), (12.5e6, 0.05, 0.01), (1.25e6, 0.1, 0.02)],
)
async def test_a_way_is_used_and_its_queue_is_short(rate: float, there_and_back: float, jitter: float) -> None:
    """A way that carries so many bytes a second in order, and two streams that always have some."""
    way, random = Way(), Random(1)
    answers: list[tuple[float, bytes]] = []
    begin, free, turn, used, queue = way.now, way.now, 0, 0, 0.0
    while way.now < begin + 4:
        settled = way.now > begin + 2
        while not way.pacer.held and free < way.now + 0.1:
            way.send(1 + turn % 2)
            turn += 1
            used += PIECE if settled else 0
            free = max(free, way.now) + PIECE / rate
            queue = max(queue, free - way.now if settled else 0.0)
            while way.marks:
                heapq.heappush(answers, (free + there_and_back + random.random() * jitter, way.marks.pop()[1]))
        way.now = answers[0][0] if way.pacer.held else min(answers[0][0] if answers else inf, way.now + PIECE / rate)
        while answers and answers[0][0] <= way.now:
            way.pacer.answered(heapq.heappop(answers)[1])
    assert used > 0.85 * 2 * rate
    assert queue < 2 * there_and_back + jitter + 2 * PACE_LEAST / rate
    way.pacer.stop()
