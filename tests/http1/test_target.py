from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.target import check_target, encode_target, encode_target_bytes
from pagent.limits import REQUEST_HEAD_MAX

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
#: Text as it was decoded with surrogateescape.
RAW = st.binary(max_size=40).map(lambda data: data.decode("utf-8", "surrogateescape"))


@given(st.one_of(TEXT, RAW))
def test_a_path_survives_and_is_one_target(path: str) -> None:
    target = encode_target(path, ())
    check_target("GET", target)
    assert target.isascii()
    assert "?" not in target
    given = path if path.startswith("/") else f"/{path}"
    assert unquote_to_bytes(target) == given.encode("utf-8", "surrogateescape")


@given(TEXT, st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_a_query_survives_form_decoders(path: str, query: list[tuple[str, str]]) -> None:
    target = encode_target(path, query)
    check_target("GET", target)
    _, mark, encoded = target.partition("?")
    assert bool(mark) is bool(query)
    assert parse_qsl(encoded, keep_blank_values=True) == query


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("a b", "/a%20b"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("/%41", "/%2541"),
        ("//host/x", "//host/x"),
        ("/../..", "/../.."),
        ("/ü\r\nHost: x", "/%C3%BC%0D%0AHost:%20x"),
    ],
)
def test_a_path(path: str, target: str) -> None:
    assert encode_target(path, ()) == target


@pytest.mark.parametrize("path", [None, b"/", 5, ["/"], "/\ud800", "/" * (REQUEST_HEAD_MAX + 1)])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode_target(path, ())


@pytest.mark.parametrize(
    "query",
    [None, {"a": "b"}, "ab", b"ab", 5, ["ab"], [("a",)], [("a", "b", "c")], [("a", 1)], [(b"a", "b")], [None]],
)
def test_what_is_no_query(query: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode_target("/", query)


def test_a_query_beyond_the_limit() -> None:
    for query in ([("", "")] * (REQUEST_HEAD_MAX + 1), [("a", "b" * REQUEST_HEAD_MAX)]):
        with pytest.raises(ValueError, match="too"):
            encode_target("/", query)


@pytest.mark.parametrize("target", ["/", "/a?b", "/%zz", "/ä", "//", "/?#".replace("#", "")])
def test_an_origin_form(target: str) -> None:
    check_target("GET", target)


@pytest.mark.parametrize(
    "target", ["", "*", "a", "http://x/", "/ ", "/\n", "/\r\nX: y", "/#a", "/\0", "/\x7f", "/a\n", "?a", None, b"/"]
)
def test_what_is_no_origin_form(target: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        check_target("GET", target)


def test_the_asterisk_is_for_options_alone() -> None:
    check_target("OPTIONS", "*")
    for method in ("GET", "options", None):
        with pytest.raises(ValueError, match="origin form"):
            check_target(method, "*")


@given(st.binary(max_size=60).filter(lambda line: b"\r\n" not in line), st.binary(max_size=30))
def test_only_bytes_of_the_target_that_are_not_ascii_are_encoded(line: bytes, fields: bytes) -> None:
    encoded, end, rest = encode_target_bytes(line + b"\r\n" + fields).partition(b"\r\n")
    assert encoded.isascii()
    assert (end, rest) == (line + b"\r\n" + fields).partition(b"\r\n")[1:]
    assert unquote_to_bytes(encoded) == unquote_to_bytes(line)
