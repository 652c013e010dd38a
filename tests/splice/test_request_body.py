"""How the pieces of a request's body are framed, checked against their head, and sent again."""

from __future__ import annotations

import pytest

from pagent.http1.request import encode_request
from pagent.splice.request_body import RequestBody


def body(*headers: tuple[str, str]) -> RequestBody:
    return RequestBody(encode_request("PUT", "/", [], list(headers), authority="a", identity=True))


def test_a_length_is_kept_to() -> None:
    counted = body(("Content-Length", "3"))
    assert counted.decided
    assert counted.add(b"ab") == [b"ab"]
    with pytest.raises(ValueError, match="shorter"):
        counted.end()
    counted = body(("Content-Length", "3"))
    with pytest.raises(ValueError, match="longer"):
        counted.add(b"abcd")


def test_chunks() -> None:
    chunked = body(("Transfer-Encoding", "chunked"))
    assert b"".join(chunked.add(b"x" * 16)) == b"10\r\n" + b"x" * 16 + b"\r\n"
    assert b"".join(chunked.end()) == b"0\r\n\r\n"
    assert chunked.end() == []
    with pytest.raises(ValueError, match="after the end"):
        chunked.add(b"y")


def test_trailers_end_a_body_in_chunks() -> None:
    chunked = body(("Transfer-Encoding", "chunked"))
    chunked.add(b"x")
    assert chunked.end_with([["X-Sum", "1"]]) == [b"0\r\nX-Sum: 1\r\n\r\n"]
    assert chunked.ended
    assert chunked.end() == []
    with pytest.raises(ValueError, match="after the end"):
        chunked.end_with([["X-Sum", "1"]])


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([("Content-Length", "3")], "not sent in chunks"),
        ([("Content-Length", "0")], "after the end"),
        ([("Transfer-Encoding", "chunked")], "token"),
    ],
)
def test_trailers_that_are_refused(headers: list[tuple[str, str]], words: str) -> None:
    refusing = body(*headers)
    with pytest.raises(ValueError, match=words):
        refusing.end_with([["X Sum", "1"]])


@pytest.mark.parametrize("piece", [b"", b"a"])
def test_the_first_message_decides_what_the_head_left_open(piece: bytes) -> None:
    undecided = body()
    assert not undecided.decided
    parts = undecided.add(piece) if piece else undecided.end()
    undecided.keep(parts)
    written = b"".join(undecided.begin())
    assert undecided.decided
    assert (b"Transfer-Encoding: chunked\r\n" in written) is bool(piece)
    assert written.endswith(b"1\r\na\r\n" if piece else b"\r\n\r\n")


def test_little_is_sent_again_and_much_is_not() -> None:
    small = body(("Content-Length", "100000"))
    first = small.begin()
    small.remember(small.add(b"abc"))
    assert small.can_repeat
    small.repeat()
    assert small.begin() == [*first, b"abc"]
    small.remember(small.add(bytes(90_000)))
    assert not small.can_repeat
