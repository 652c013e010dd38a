"""What agents have said, as values of the types that openapi.json promises."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pagent.web.v1.said import integer, integers, mapping, number, text


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "a", b"a", [], [1], ["1"], {}, {"a": 1}])
def test_a_value_of_another_type_is_not_known(value: Any) -> None:
    assert text(value) == ("a" if value == "a" else None)
    assert integer(value) == (1 if type(value) is int else None)
    assert number(value) == (value if type(value) in (int, float) else None)
    assert integers(value) == (value if value in ([], [1]) else None)
    assert mapping(value) == (value if isinstance(value, dict) else {})


def test_integers_are_no_booleans_and_numbers_are_finite() -> None:
    assert integers([True]) is None
    assert [number(value) for value in (math.nan, math.inf, -math.inf)] == [None, None, None]
