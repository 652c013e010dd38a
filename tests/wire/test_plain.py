"""Values of msgpack in types of JSON."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.limits import INFO_DEPTH_MAX
from pagent.wire.plain import plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\xff\x00", "ff00"),
        ({b"\x01": 1, 2: [b"", None, True, 0.5]}, {"01": 1, "2": ["", None, True, 0.5]}),
        ((1, "a"), [1, "a"]),
        (msgpack.ExtType(5, b"x"), [5, "78"]),
    ],
)
def test_values(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_values_that_are_nested_too_deeply_are_none() -> None:
    value: Any = "deep"
    for _ in range(INFO_DEPTH_MAX + 5):
        value = [value]
    found, depth = plain(value), 0
    while isinstance(found, list):
        found, depth = found[0], depth + 1
    assert (found, depth) == (None, INFO_DEPTH_MAX + 1)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary() | st.integers(), inner),
        max_leaves=20,
    )
)
def test_the_result_is_json(value: Any) -> None:
    json.dumps(plain(value))
