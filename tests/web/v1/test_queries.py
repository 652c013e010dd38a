from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from pagent.errors import RequestRefusedError
from pagent.web.v1.queries import flag, moment, number, one_of


def asked(**query: str) -> web.Request:
    return make_mocked_request("GET", f"/?{urlencode(query)}")


Read = Callable[[web.Request], Any]
READERS: list[Read] = [
    lambda request: flag(request, "x"),
    lambda request: flag(request, "x", empty=True),
    lambda request: number(request, "x", 7),
    lambda request: moment(request, "x"),
    lambda request: one_of(request, "x", ("a", "b"), "a"),
]


def test_what_is_not_given_has_its_default() -> None:
    assert [read(asked(y="1")) for read in READERS] == [False, False, 7, None, "a"]


@given(st.text(max_size=30), st.sampled_from(READERS))
def test_any_text_is_a_value_or_refused(text: str, read: Read) -> None:
    with suppress(RequestRefusedError):
        read(asked(x=text))


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1e3", "٣", "²", " 1", "1_000", "0x1", "1" * 19])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(RequestRefusedError, match="must be a number"):
        number(asked(x=text), "x", 0)


@given(st.integers(0, 10**18 - 1))
def test_a_number(value: int) -> None:
    assert number(asked(x=str(value)), "x", 0) == value


@pytest.mark.parametrize("text", ["", "true", "2", "01", "10", "on"])
def test_what_is_no_flag(text: str) -> None:
    with pytest.raises(RequestRefusedError, match="must be 0 or 1"):
        flag(asked(x=text), "x")


def test_a_flag_without_a_value_is_set_only_where_it_may_be() -> None:
    assert flag(asked(x=""), "x", empty=True)
    assert flag(asked(x="1"), "x")
    assert not flag(asked(x="0"), "x", empty=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T01:00:10+01:00", 10.0),
        ("1969-12-31T23:59:59Z", 0.0),
        ("0001-01-01T00:00:00+14:00", 0.0),
        ("2030-12-31T23:59:59.5Z", 1924991999.5),
    ],
)
def test_a_moment(text: str, seconds: float) -> None:
    assert moment(asked(x=text), "x") == seconds


@pytest.mark.parametrize("text", ["", "now", "1970-01-01T00:00:10", "1970-01-01", "1970-13-01T00:00:00Z", "12"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(RequestRefusedError, match="must be a time"):
        moment(asked(x=text), "x")
