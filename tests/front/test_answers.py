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


def test_the_router_writes_the_fields_of_its_hop_itself() -> None:
    """Whatever an agent sends: a client would find another end of the answer than the router has written."""
    hop = (
        b"Transfer-Encoding: chunked\r\ntransfer-encoding: gzip\r\nConnection: close\r\nKeep-Alive: timeout=1\r\n"
        b"Proxy-Connection: close\r\nProxy-Authenticate: Basic\r\n"
    )
    assert read_lines(b"A: b\r\n" + hop + b"Content-Length: 2\r\n") == (2, b"A: b\r\nContent-Length: 2\r\n")
    assert encode_interim(103, hop + b"Content-Length: 2\r\nA: b\r\n") == (
        b"HTTP/1.1 103 Early Hints\r\nConnection: close\r\nA: b\r\n\r\n"
    )
    switch = b"Connection: Upgrade\r\nUpgrade: x\r\n"
    assert encode_interim(101, switch) == b"HTTP/1.1 101 Switching Protocols\r\n" + switch + b"\r\n"


@pytest.mark.parametrize("second", [b"Content-Length: 2\r\n", b"content-length: 3\r\n"])
def test_an_answer_has_one_length(second: bytes) -> None:
    with pytest.raises(ValueError, match="two Content-Length"):
        read_lines(b"Content-Length: 2\r\n" + second)


@pytest.mark.parametrize(
    "lines", [b"Content-Length: x\r\n", b"Content-Length: -1\r\n", b"a: b\r\n\r\n", b"a: b", b"a\r\n"]
)
def test_lines_that_are_not_valid(lines: bytes) -> None:
    with pytest.raises(ValueError, match=r"not|colon|end"):
        read_lines(lines)


def test_heads() -> None:
    assert encode_head(200, b"A: b\r\n", b"C: d\r\n") == b"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n"
    assert encode_head(599) == b"HTTP/1.1 599 \r\n\r\n"
