"""Lists of buffers: joined for a write, and continued after a part of them was written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pagent.buffers import JOIN_MAX, Bytes, joined, remaining

#: Sizes around the bound, and small ones.
SIZES = st.integers(0, 5) | st.integers(JOIN_MAX - 1, JOIN_MAX + 1)
BUFFERS = st.lists(st.builds(lambda size, fill: bytes([fill]) * size, SIZES, st.integers(0, 255)), max_size=8)


def whole(buffers: list[Bytes]) -> bytes:
    return b"".join(buffers)


@given(BUFFERS)
def test_joined_buffers_have_the_same_bytes_in_runs(buffers: list[bytes]) -> None:
    found = joined(list(buffers))
    assert whole(found) == b"".join(buffers)
    large = [buffer for buffer in buffers if len(buffer) > JOIN_MAX]
    assert [each for each in found if any(each is buffer for buffer in large)] == large  # not copied
    assert len(found) <= 2 * len(large) + 1


def test_a_run_is_one_buffer() -> None:
    large = bytes(JOIN_MAX + 1)
    assert joined([b"a", b"b", large, b"c", memoryview(b"d")]) == [b"ab", large, b"cd"]
    assert joined([]) == []


@given(BUFFERS, st.data())
def test_the_remaining_buffers_continue_after_any_write(buffers: list[bytes], data: st.DataObject) -> None:
    done = data.draw(st.integers(0, sum(map(len, buffers))))
    assert whole(remaining(list(buffers), done)) == b"".join(buffers)[done:]
