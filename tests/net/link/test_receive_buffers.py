"""Receive buffers: no part in use is written over, and what can be kept of them is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.net.link.receive_buffers import LENT_BUFFERS, RECEIVE_BUFFER, ReceiveBuffers, current_receive_buffers
from pagent.wire.frames import LEND_LEAST


def receive(buffers: ReceiveBuffers, fill: int, count: int = LEND_LEAST + 1) -> memoryview | None:
    """Bytes come in; a part of them, if it may be kept."""
    space = buffers.space()
    assert len(space) == RECEIVE_BUFFER
    space[:count] = bytes([fill]) * count
    return space[1:10] if buffers.lends(count) else None


async def test_one_set_for_a_loop() -> None:
    assert current_receive_buffers() is current_receive_buffers()


def test_a_buffer_without_a_part_in_use_is_used_again() -> None:
    buffers = ReceiveBuffers()
    places = {id(buffers.space().obj)}
    for fill in range(10):
        receive(buffers, fill)
        places.add(id(buffers.space().obj))
    assert len(places) == 1


def test_what_is_little_is_not_lent() -> None:
    buffers = ReceiveBuffers()
    assert receive(buffers, 1, LEND_LEAST) is None


def test_a_part_that_is_kept_stays_as_it_is_and_so_many_can_be() -> None:
    buffers = ReceiveBuffers()
    kept = [receive(buffers, fill) for fill in range(LENT_BUFFERS + 3)]
    parts = [part for part in kept if part is not None]
    assert [part[0] for part in parts] == list(range(LENT_BUFFERS))
    assert len({id(part.obj) for part in parts}) == LENT_BUFFERS
    parts[2].release()
    again = receive(buffers, 77)
    assert again is not None
    assert [part[0] for number, part in enumerate(parts) if number != 2] == [n for n in range(LENT_BUFFERS) if n != 2]
    assert again[0] == 77


@given(st.lists(st.tuples(st.integers(0, 255), st.booleans(), st.integers(0, 5)), max_size=30))
def test_no_part_is_ever_written_over(steps: list[tuple[int, bool, int]]) -> None:
    buffers = ReceiveBuffers()
    kept: list[tuple[int, memoryview]] = []
    for fill, keep, drop in steps:
        part = receive(buffers, fill)
        if part is not None and keep:
            kept.append((fill, part))
        if drop < len(kept):
            kept.pop(drop)[1].release()
        assert all(bytes(part) == bytes([fill]) * 9 for fill, part in kept)
        assert len({id(part.obj) for _, part in kept}) <= LENT_BUFFERS


def test_a_view_that_goes_away_by_itself_gives_back_too() -> None:
    buffers = ReceiveBuffers()
    first = receive(buffers, 1)
    assert first is not None
    place = id(first.obj)
    del first
    assert id(buffers.space().obj) == place


@pytest.mark.parametrize("times", [1, 3])
def test_space_that_was_not_used_is_given_again(times: int) -> None:
    buffers = ReceiveBuffers()
    space = buffers.space()
    for _ in range(times):
        assert buffers.space() is space
