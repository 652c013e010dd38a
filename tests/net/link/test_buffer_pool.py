"""The buffer pool: no view is overwritten, and the buffers in use are bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.net.link.buffer_pool import POOL_BUFFERS, RECEIVE_BUFFER, BufferPool, current_pool
from pagent.wire.frames import VIEW_LEAST


def receive(pool: BufferPool, fill: int, count: int = VIEW_LEAST + 1) -> memoryview | None:
    """Receive bytes; return a view of a part of them, if it may be kept."""
    space = pool.space()
    assert len(space) == RECEIVE_BUFFER
    space[:count] = bytes([fill]) * count
    return space[1:10] if pool.allows_views(count) else None


async def test_a_loop_has_one_pool() -> None:
    assert current_pool() is current_pool()


def test_a_buffer_without_views_is_used_again() -> None:
    pool = BufferPool()
    places = {id(pool.space().obj)}
    for fill in range(10):
        receive(pool, fill)
        places.add(id(pool.space().obj))
    assert len(places) == 1


def test_little_data_is_copied() -> None:
    pool = BufferPool()
    assert receive(pool, 1, VIEW_LEAST) is None


def test_a_view_is_not_overwritten_and_so_many_buffers_can_be_in_use() -> None:
    pool = BufferPool()
    kept = [receive(pool, fill) for fill in range(POOL_BUFFERS + 3)]
    parts = [part for part in kept if part is not None]
    assert [part[0] for part in parts] == list(range(POOL_BUFFERS))
    assert len({id(part.obj) for part in parts}) == POOL_BUFFERS
    parts[2].release()
    again = receive(pool, 77)
    assert again is not None
    assert [part[0] for number, part in enumerate(parts) if number != 2] == [n for n in range(POOL_BUFFERS) if n != 2]
    assert again[0] == 77


def test_a_view_of_a_view_keeps_the_buffer() -> None:
    pool = BufferPool()
    part = receive(pool, 1)
    assert part is not None
    inner = memoryview(part)[2:].cast("b").toreadonly()
    part.release()
    assert receive(pool, 2) is not None
    assert inner[0] == 1


@given(st.lists(st.tuples(st.integers(0, 255), st.booleans(), st.integers(0, 5)), max_size=30))
def test_no_view_is_ever_overwritten(steps: list[tuple[int, bool, int]]) -> None:
    pool = BufferPool()
    kept: list[tuple[int, memoryview]] = []
    for fill, keep, drop in steps:
        part = receive(pool, fill)
        if part is not None and keep:
            kept.append((fill, part))
        if drop < len(kept):
            kept.pop(drop)[1].release()
        assert all(bytes(part) == bytes([fill]) * 9 for fill, part in kept)
        assert len({id(part.obj) for _, part in kept}) <= POOL_BUFFERS


def test_a_view_that_is_garbage_collected_frees_its_buffer() -> None:
    pool = BufferPool()
    first = receive(pool, 1)
    assert first is not None
    place = id(first.obj)
    del first
    assert id(pool.space().obj) == place


@pytest.mark.parametrize("times", [1, 3])
def test_unused_space_is_given_again(times: int) -> None:
    pool = BufferPool()
    space = pool.space()
    for _ in range(times):
        assert pool.space() is space
