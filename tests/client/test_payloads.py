"""Payloads of stream messages: no byte is lost, none is empty, none is too long."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from pagent.buffers import BODY_CHUNK
from pagent.client.payloads import all_payloads, payloads_of


@given(st.sampled_from([0, 1, BODY_CHUNK - 1, BODY_CHUNK, BODY_CHUNK + 1, 3 * BODY_CHUNK]))
def test_bytes_of_any_size(size: int) -> None:
    data = bytes(size)
    for value in (data, bytearray(data), memoryview(data)):
        pieces = list(payloads_of(value))
        assert b"".join(pieces) == data
        assert all(0 < len(piece) <= BODY_CHUNK for piece in pieces)


def test_items_of_more_than_one_byte_count_as_their_bytes() -> None:
    values = array("I", [1, 2, 3])
    assert b"".join(payloads_of(memoryview(values))) == values.tobytes()


@given(st.lists(st.binary(max_size=5), max_size=5))
async def test_the_items_of_an_iterable(items: list[bytes]) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for item in items:
            yield item

    assert [bytes(piece) async for piece in all_payloads(parts())] == [item for item in items if item]
    joined = b"".join(items)
    assert [bytes(piece) async for piece in all_payloads(joined)] == ([joined] if joined else [])
