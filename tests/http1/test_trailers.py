from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.fields import BadResponse
from pagent.http1.trailers import LAST_CHUNK, last_chunk, trailer_fields
from pagent.limits import RESPONSE_FIELDS_MAX, TRAILERS_MAX

TOKENS = st.text("abcXYZ-_09", min_size=1, max_size=12).map(lambda name: "x-" + name)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip)

FORBIDDEN = [
    "Authorization",
    "Cache-Control",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "Expect",
    "Host",
    "If-Match",
    "Location",
    "Proxy-Authorization",
    "Set-Cookie",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
]


def test_without_trailers_it_is_the_last_chunk_alone() -> None:
    assert last_chunk([]) == last_chunk([["Host", "x"]]) == LAST_CHUNK


@given(st.lists(st.tuples(TOKENS, VALUES), min_size=1, max_size=10))
def test_what_is_written_is_read_again(pairs: list[tuple[str, str]]) -> None:
    fields = [list(pair) for pair in pairs]
    data = last_chunk(fields)
    assert data.startswith(b"0\r\n")
    assert data.endswith(b"\r\n\r\n")
    assert trailer_fields(data[1:-4]) == fields


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_fields_are_left_out_in_every_spelling(name: str) -> None:
    for spelt in (name, name.lower(), name.replace("-", "_")):
        assert last_chunk([[spelt, "1"], ["A", "b"]]) == b"0\r\nA: b\r\n\r\n"
        assert trailer_fields(f"\r\n{spelt}: 1\r\nA: b".encode()) == [["A", "b"]]


@pytest.mark.parametrize(
    ("trailers", "error"),
    [
        (1, TypeError),
        ("ab", TypeError),
        ([1], TypeError),
        (["ab"], TypeError),
        ([["a"]], ValueError),
        ([["a", 1]], TypeError),
        ([["a b", "1"]], ValueError),
        ([["", "1"]], ValueError),
        ([["a", "1\r\nb: 2"]], ValueError),
        ([["a", "1\n"]], ValueError),
        ([["a", "\0"]], ValueError),
        ([["a", "\ud800"]], ValueError),
        ([["a", "x" * TRAILERS_MAX]], ValueError),
        ([["a", "b"]] * (RESPONSE_FIELDS_MAX + 1), ValueError),
    ],
)
def test_what_cannot_be_written(trailers: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        last_chunk(trailers)


@pytest.mark.parametrize("section", [b"\r\na", b"\r\n: b", b"\r\na : b", b"\r\na: \0"])
def test_what_cannot_be_read(section: bytes) -> None:
    with pytest.raises(BadResponse):
        trailer_fields(section)
