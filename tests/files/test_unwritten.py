from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.files.disk_work import DISK_PIECE
from pagent.files.holes import HOLE_COST
from pagent.files.unwritten import DISK_JOIN, UnwrittenData


def test_small_pieces_wait_until_they_are_joined() -> None:
    unwritten = UnwrittenData(reads_holes=False)
    for _ in range(DISK_PIECE // 1024 - 1):
        unwritten.add(bytes(1024))
    assert not unwritten
    assert unwritten.pending == 0
    unwritten.add(bytes(1024))
    assert unwritten.pending == unwritten.buffered == DISK_PIECE
    assert [len(part) for part in unwritten.take(1)] == [DISK_PIECE]


@pytest.mark.parametrize(("reads_holes", "cost"), [(False, HOLE_COST), (True, 1 << 20)])
def test_a_hole_is_work_but_takes_no_memory(reads_holes: bool, cost: int) -> None:
    unwritten = UnwrittenData(reads_holes=reads_holes)
    unwritten.add_hole(1 << 20)
    assert (unwritten.pending, unwritten.buffered) == (cost, 0)
    assert unwritten.hole() == 1 << 20
    assert unwritten.wrote_hole(1 << 20) == cost
    assert (unwritten.pending, unwritten.buffered, unwritten.written) == (0, 0, cost)
    assert not unwritten


def test_a_hole_may_be_written_in_steps() -> None:
    unwritten = UnwrittenData(reads_holes=True)
    unwritten.add_hole(100)
    assert unwritten.wrote_hole(60) == 60
    assert unwritten.hole() == 40
    assert unwritten.pending == 40


sizes = st.one_of(st.integers(0, 50), st.just(DISK_JOIN), st.integers(DISK_JOIN, 3 * DISK_JOIN))


@given(st.lists(st.tuples(st.booleans(), sizes)), st.integers(1, DISK_PIECE))
def test_the_order_is_kept_and_all_of_it_is_counted(parts: list[tuple[bool, int]], most: int) -> None:
    unwritten = UnwrittenData(reads_holes=True)
    whole = b""
    for number, (is_hole, size) in enumerate(parts):
        if is_hole and size:
            unwritten.add_hole(size)
            whole += bytes(size)
        else:
            data = bytes([number % 255 + 1]) * size
            unwritten.add(data)
            whole += data
    unwritten.flush()
    assert unwritten.pending == len(whole)
    written = b""
    while unwritten:
        if hole := unwritten.hole():
            step = min(hole, most)
            unwritten.wrote_hole(step)
            written += bytes(step)
        else:
            taken = b"".join(unwritten.take(most))
            unwritten.wrote(len(taken))
            written += taken
        assert unwritten.written == len(written)
    assert written == whole
    assert unwritten.buffered == 0
