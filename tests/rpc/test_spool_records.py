"""Records of a spool: every value comes back, from every split of the bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.buffers import JOIN_MAX
from pagent.rpc.spool_records import HEADER_BYTES, Record, cost, decode, encode, record_bytes, record_of, value_of

plain = st.one_of(st.binary(max_size=200), st.text(max_size=50))
maps = st.dictionaries(st.text(), plain)
values = st.one_of(plain, st.just("\ud800"), st.integers(-(1 << 40), 1 << 40), st.booleans(), maps)


def encoded(sent: list[Any]) -> bytes:
    return b"".join(encode([record_of(value) for value in sent]))


def decoded(data: bytes) -> tuple[list[Any], int]:
    records, used = decode(memoryview(data))
    return [value_of(record) for record in records], used


@given(st.lists(values, max_size=10))
def test_all_values_come_back(sent: list[Any]) -> None:
    data = encoded(sent)
    assert decoded(data) == (sent, len(data))


@given(st.lists(values, min_size=1, max_size=4), st.data())
def test_only_whole_records_are_decoded(sent: list[Any], data: st.DataObject) -> None:
    whole = encoded(sent)
    cut = data.draw(st.integers(0, len(whole)))
    first, used = decoded(whole[:cut])
    rest, _ = decoded(whole[used:])
    assert first + rest == sent
    assert used <= cut


@pytest.mark.parametrize("size", [0, JOIN_MAX, JOIN_MAX + 1])
def test_a_large_bin_is_a_view_of_what_was_read(size: int) -> None:
    (record,), _ = decode(memoryview(encoded([bytes(size)])))
    assert isinstance(record, memoryview) is (size > JOIN_MAX)
    assert record == bytes(size)


@pytest.mark.parametrize("value", [b"", b"abc", "ü" * 7, {"a": 1}])
def test_the_header_says_how_long_the_record_is(value: Any) -> None:
    data = encoded([value])
    assert record_bytes(data[:HEADER_BYTES]) == len(data)


@pytest.mark.parametrize("value", [b"", b"abc", memoryview(b"abc"), "abc", "ü" * 7, "\ud800", [1, 2]])
def test_the_cost_covers_the_bytes_on_disk(value: Any) -> None:
    record: Record = record_of(value)
    assert cost(record) >= len(encoded([value]))
