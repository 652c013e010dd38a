"""Conditions and ranges of requests: RFC 9110 sections 13 and 14."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from pagent.errors import RequestRefusedError
from pagent.web.v1.preconditions import Reading, Selection, select, tags, upload_condition


def fields(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


@given(st.integers(0, 20), st.text("0123456789-, =bytes\t", max_size=20))
def test_a_range_is_a_part_of_the_file_or_ignored(size: int, value: str) -> None:
    for text in (value, f"bytes={value}"):
        found = select(fields(("Range", text)), "v", size, ranges=True)
        match found.outcome:
            case Reading.PART:
                assert 0 <= found.offset < found.offset + found.length <= size
            case Reading.WHOLE:
                assert found == Selection(Reading.WHOLE, 0, size)
            case _:
                assert found.outcome is Reading.UNSATISFIABLE


@given(st.integers(1, 100), st.data())
def test_valid_ranges(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, 2 * size))
    found = select(fields(("Range", f"bytes={first}-{last}")), "v", size, ranges=True)
    assert found == Selection(Reading.PART, first, min(last, size - 1) - first + 1)
    suffix = data.draw(st.integers(1, 2 * size))
    found = select(fields(("Range", f"bytes=-{suffix}")), "v", size, ranges=True)
    assert found == Selection(Reading.PART, max(0, size - suffix), min(suffix, size))


def test_ranges_that_do_not_count() -> None:
    one = ("Range", "bytes=0-1")
    assert select(fields(one, one), "v", 9, ranges=True).outcome is Reading.WHOLE
    assert select(fields(one), "v", 9, ranges=False).outcome is Reading.WHOLE
    assert select(fields(("Range", "bytes=0-" + "9" * 100)), "v", 9, ranges=True).outcome is Reading.WHOLE
    assert select(fields(one, ("If-Range", 'W/"v"')), "v", 9, ranges=True).outcome is Reading.WHOLE
    assert select(fields(one, ("If-Range", '"v"')), "v", 9, ranges=True).outcome is Reading.PART


def test_the_order_of_conditions() -> None:
    both = fields(("If-Match", '"x"'), ("If-None-Match", '"v"'), ("Range", "bytes=99-"))
    assert select(both, "v", 9, ranges=True).outcome is Reading.FAILED
    both = fields(("If-Match", '"v"'), ("If-None-Match", '"v"'), ("Range", "bytes=99-"))
    assert select(both, "v", 9, ranges=True).outcome is Reading.NOT_MODIFIED


def test_tags() -> None:
    assert tags(fields(), "If-Match") is None
    found = tags(fields(("If-Match", '"a", W/"b"'), ("if-match", ',"c,d" ,')), "If-Match")
    assert found is not None
    assert (found.any, found.strong, found.weak) == (False, {"a", "c,d"}, {"b"})
    for value in ("", "a", '"a', '"a" "b"', '*, "a"', 'w/"a"', ",", ", ".join(['"a"'] * 65)):
        with pytest.raises(RequestRefusedError):
            tags(fields(("If-Match", value)), "If-Match")


@given(st.text('W/"*,ab \t', max_size=40))
def test_tags_of_any_text(value: str) -> None:
    with suppress(RequestRefusedError):
        assert tags(fields(("If-Match", value)), "If-Match") is not None


def test_conditions_of_uploads() -> None:
    assert upload_condition(fields()) == {}
    assert upload_condition(fields(("If-Match", "*"))) == {"match": ["*"]}
    assert upload_condition(fields(("If-Match", '"b", "a", W/"c"'))) == {"match": ["a", "b"]}
    assert upload_condition(fields(("If-Match", 'W/"c"'))) == {"match": []}
    assert upload_condition(fields(("If-None-Match", "*"))) == {"absent": True}
    with pytest.raises(RequestRefusedError):
        upload_condition(fields(("If-None-Match", '"a"')))
