"""The cache of encoded request heads: it changes no head, and is bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.heads import RequestHead
from pagent.http1.request_cache import RequestHeadCache

HEADERS = (("Accept", "*/*"), ("Cookie", "a=b"))


def encode(
    heads: RequestHeadCache,
    path: Any = "/",
    headers: Any = HEADERS,
    *,
    method: Any = "GET",
    query: Any = (),
    authority: str = "127.0.0.1:80",
    raw: bool = False,
    upgrade: bool = False,
) -> RequestHead:
    return heads.encode(method, path, query, headers, authority=authority, raw=raw, upgrade=upgrade)


def kept(heads: RequestHeadCache, path: str = "/") -> RequestHead:
    """Return a head that the cache keeps: it is the second of its target."""
    encode(heads, path)
    return encode(heads, path)


def test_equal_arguments_give_the_same_head_from_the_second_time_on() -> None:
    heads = RequestHeadCache()
    encode(heads)
    assert len(heads) == 0
    second = encode(heads)
    assert encode(heads, headers=tuple(map(tuple, map(list, HEADERS)))) is second
    assert len(heads) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"path": "/other"},
        {"method": "HEAD"},
        {"query": (("a", "b"),)},
        {"headers": HEADERS[:1]},
        {"authority": "127.0.0.1:81"},
        {"raw": True},
        {"raw": True, "upgrade": True, "headers": (("Upgrade", "mine"),)},
    ],
)
def test_each_argument_counts(other: dict[str, Any]) -> None:
    heads = RequestHeadCache()
    first = kept(heads)
    for _ in range(2):
        assert encode(heads, **other).data == encode(RequestHeadCache(), **other).data != first.data
    assert encode(heads).data == first.data


def test_lists_are_encoded_each_time() -> None:
    heads = RequestHeadCache()
    lists = [list(pair) for pair in HEADERS]
    first = encode(heads, headers=lists)
    assert encode(heads, headers=lists) is not first
    assert encode(heads, headers=lists).data == first.data == encode(RequestHeadCache()).data
    assert len(heads) == 0


@pytest.mark.parametrize(
    "faulty", [{"path": 1}, {"method": "CONNECT"}, {"headers": 5}, {"headers": (("a",),)}, {"upgrade": True}]
)
def test_faults_are_raised_each_time_and_not_kept(faulty: dict[str, Any]) -> None:
    heads = RequestHeadCache()
    for _ in range(3):
        with pytest.raises((ValueError, TypeError)):
            encode(heads, **faulty)
    assert len(heads) == 0


def test_equal_values_of_another_type_are_not_taken_for_the_kept_ones() -> None:
    heads = RequestHeadCache()
    kept(heads)
    for headers in (((b"Accept", "*/*"), ("Cookie", "a=b")), (("Accept", "*/*"), ("Cookie", 1))):
        with pytest.raises(TypeError):
            encode(heads, headers=headers)


def test_requests_that_never_come_again_replace_none() -> None:
    heads = RequestHeadCache()
    first = kept(heads, "/0")
    for number in range(1, 2000):
        encode(heads, f"/{number}")
    assert len(heads) == 1
    assert encode(heads, "/0") is first


def test_the_number_of_heads_is_bounded_and_an_older_one_makes_room() -> None:
    heads = RequestHeadCache()
    for number in range(2000):
        kept(heads, f"/{number}")
    newest = encode(heads, "/1999")
    assert 0 < len(heads) <= 256
    assert encode(heads, "/1999") is newest


def test_large_heads_are_not_kept() -> None:
    heads = RequestHeadCache()
    kept(heads, "/" + "x" * 2000)
    assert len(heads) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["GET", "POST", "get", ""]),
            st.sampled_from(["/", "/a b", "*", "", "/\r\n"]),
            st.lists(st.tuples(st.sampled_from(["A1", "Host", "Upgrade"]), st.sampled_from(["x", "h2c", "\0"]))),
            st.booleans(),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_a_head_is_the_same_with_and_without_the_cache(calls: list[tuple[str, str, list[Any], bool, bool]]) -> None:
    heads = RequestHeadCache()

    def outcome(cache: RequestHeadCache, call: tuple[str, str, list[Any], bool, bool]) -> Any:
        method, path, headers, raw, upgrade = call
        try:
            head = encode(cache, path, tuple(headers), method=method, raw=raw, upgrade=upgrade)
        except (ValueError, TypeError) as error:
            return str(error)
        return head.data, head.framing, head.length, head.idempotent, head.method, head.host, head.protocols

    for call in calls:
        assert outcome(heads, call) == outcome(RequestHeadCache(), call)
