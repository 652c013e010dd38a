"""Cursors and limits of lists, as any client may send them."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from pagent.errors import RequestRefusedError
from pagent.router_limits import PAGE_MAX
from pagent.web.v1.pages import age_of, cursor_of, page_limit


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_cursor_is_a_place(created_at: float, uid: str) -> None:
    cursor = cursor_of((created_at, uid))
    assert quote(cursor, safe="-_") == cursor
    assert age_of(cursor) == (created_at, uid)


@given(st.text(max_size=40))
def test_any_text_is_a_cursor_or_is_refused(text: str) -> None:
    refused = ""
    found = None
    try:
        found = age_of(text)
    except RequestRefusedError as error:
        refused = str(error)
    assert (found is None) == (refused == "after is not a cursor of this list")


@pytest.mark.parametrize(
    "text", ["", "=", "abcde", "bmFuIHg", "aW5mIHg", "MHgxLjBwKzk5OTk5IHg", "MS4w", "\u00e9", "/+"]
)
def test_texts_that_are_no_cursors(text: str) -> None:
    """Among them NaN, infinity, a number that is too large, and one without a uid."""
    with pytest.raises(RequestRefusedError, match="after is not a cursor"):
        age_of(text)


def test_the_first_page_has_no_cursor() -> None:
    assert age_of(None) is None


def limit(query: str) -> int:
    return page_limit(make_mocked_request("GET", f"/v1/jobs{query}"))


def test_limits() -> None:
    assert (limit(""), limit("?limit=1"), limit(f"?limit={PAGE_MAX}"), limit("?limit=007")) == (100, 1, PAGE_MAX, 7)


@pytest.mark.parametrize(
    "given", ["0", "-1", "", "1.0", "x", "1e2", "+1", "%20", "%C2%B2", "%D9%A1", str(PAGE_MAX + 1), "9" * 5000]
)
def test_limits_that_are_refused(given: str) -> None:
    with pytest.raises(RequestRefusedError, match=f"limit must be a number from 1 to {PAGE_MAX}"):
        limit(f"?limit={given}")
