from __future__ import annotations

import pytest

from pagent.front.answers import encode_head, encode_interim, read_lines

OWN = b"Set-Cookie: pagent-ticket=x\r\n"
OTHER = b"SET-COOKIE: my-pagent-x=1\r\nX: pagent-x\r\n"


def test_the_length_of_an_answer() -> None:
    assert read_lines(b"A: b\r\ncontent-LENGTH: 12\r\n") == (12, b"A: b\r\ncontent-LENGTH: 12\r\n")
    assert read_lines(b"") == (None, b"")


def test_no_answer_sets_a_cookie_of_the_router() -> None:
    assert read_lines(OWN + OTHER + b"set-cookie: __Host-pagent-a=1\r\n") == (None, OTHER)
    assert encode_interim(103, OWN + OTHER) == b"HTTP/1.1 103 Early Hints\r\n" + OTHER + b"\r\n"


@pytest.mark.parametrize(
    "lines", [b"Content-Length: x\r\n", b"Content-Length: -1\r\n", b"a: b\r\n\r\n", b"a: b", b"a\r\n"]
)
def test_lines_that_are_not_valid(lines: bytes) -> None:
    with pytest.raises(ValueError, match=r"not|colon|end"):
        read_lines(lines)


def test_heads() -> None:
    assert encode_head(200, b"A: b\r\n", b"C: d\r\n") == b"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n"
    assert encode_head(599) == b"HTTP/1.1 599 \r\n\r\n"
