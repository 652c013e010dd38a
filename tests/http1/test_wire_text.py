from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.wire_text import (
    fields_as_latin1,
    fields_from_wire,
    fields_to_wire,
    from_wire,
    has_bytes,
    latin1,
    to_wire,
)


@given(st.binary())
def test_any_bytes_cross_a_link(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    wire = to_wire(text)
    assert (wire if isinstance(wire, bytes) else wire.encode()) == data
    assert from_wire(wire) == text
    latin1(text).encode()


def test_utf8_stays_text_and_other_bytes_are_bytes() -> None:
    fields = [["A", "a"], ["B", "\u00e9"], ["C", "\udce9"]]
    assert fields_to_wire(fields) == [["A", "a"], ["B", "\u00e9"], ["C", b"\xe9"]]
    assert fields_from_wire(fields_to_wire(fields)) == fields
    assert fields_as_latin1(fields) == [["A", "a"], ["B", "\u00e9"], ["C", "\u00e9"]]


def test_pairs_of_a_peer_that_are_none_stay_as_they_are() -> None:
    assert not has_bytes(5)
    assert not has_bytes("ab")
    assert not has_bytes([5, "ab", ["a"], ["a", "b"], [b"a", "b"]])
    assert has_bytes([5, ("a", b"b")])
    assert fields_from_wire([["a"], ["a", b"b", "c"]]) == [["a"], ["a", b"b", "c"]]
    with pytest.raises(TypeError):
        fields_from_wire([5])
