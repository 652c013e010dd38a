from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.relay.versions import Version, parse_range, parse_version

NUMBERS = st.lists(st.integers(0, 50), min_size=1, max_size=5)


def version(text: str) -> Version:
    found = parse_version(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "numbers", "is_release"),
    [
        ("3", (3,), True),
        ("v3.0.0", (3,), True),
        ("0", (), True),
        ("2.10.1", (2, 10, 1), True),
        ("5.10.0-8-amd64", (5, 10), True),
        ("3.0rc1", (3,), False),
        ("3.0.0-beta.2", (3,), False),
        ("3.0.0.dev4+local", (3,), False),
        ("3.0+build", (3,), True),
        ("3.1-custom", (3, 1), True),
    ],
)
def test_versions(text: str, numbers: tuple[int, ...], is_release: bool) -> None:
    assert parse_version(text) == (numbers, is_release)


@pytest.mark.parametrize("text", ["", "x", ".1", "-1", "\u0663", "v"])
def test_texts_that_are_no_versions(text: str) -> None:
    assert parse_version(text) is None


@given(NUMBERS, NUMBERS)
def test_versions_are_ordered_as_their_numbers(one: list[int], two: list[int]) -> None:
    first, second = version(".".join(map(str, one))), version(".".join(map(str, two)))
    length = max(len(one), len(two))
    padded = [numbers + [0] * (length - len(numbers)) for numbers in (one, two)]
    assert (first < second) is (padded[0] < padded[1])
    assert (first == second) is (padded[0] == padded[1])


@given(NUMBERS, NUMBERS)
def test_a_range_and_its_complement(one: list[int], two: list[int]) -> None:
    text, found = ".".join(map(str, one)), version(".".join(map(str, two)))
    for operator, complement in ((">=", "<"), ("<=", ">"), ("==", "!=")):
        assert parse_range(f"{operator}{text}")(found) is not parse_range(f" {complement} {text} ")(found)


def test_clauses_hold_together() -> None:
    in_range = parse_range(">=2.1,<3")
    assert [text for text in ("2", "2.1", "2.9.9", "3.0rc1", "3", "3.1") if in_range(version(text))] == [
        "2.1",
        "2.9.9",
        "3.0rc1",
    ]
    assert parse_range("2")(version("2.0.0"))


@pytest.mark.parametrize("text", ["", ",", ">=", ">=2,", "~=2", ">=x", "2 3", "=>2"])
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a clause"):
        parse_range(text)


@given(st.text(max_size=40))
def test_any_text_is_a_version_or_none(text: str) -> None:
    parse_version(text)
    with suppress(ValueError):
        parse_range(text)
