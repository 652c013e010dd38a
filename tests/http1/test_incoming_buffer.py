"""The head of a client's request, in any pieces: where it ends, and at which byte it is refused."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.incoming import FIELDS_TOO_LARGE, TARGET_TOO_LONG, BadRequest
from pagent.http1.incoming_buffer import HeadBuffer
from pagent.router_limits import INCOMING_FIELD_MAX, INCOMING_HEAD_MAX
from tests.http1.sinks import split_at

HEAD = b"GET /a HTTP/1.1\r\nHost: b"
END = b"\r\n\r\n"


def cut(pieces: Iterable[bytes]) -> tuple[list[bytes], bytes]:
    """Return all heads in these pieces, and the bytes after the last one."""
    buffer = HeadBuffer()
    heads = []
    for piece in pieces:
        at = 0
        while (found := buffer.cut(piece, at)) is not None:
            head, at = found
            heads.append(head)
    return heads, buffer.rest()


def refusal(pieces: Iterable[bytes]) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        cut(pieces)
    return caught.value


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


STREAMS = [
    (HEAD + END, [HEAD], b""),
    (HEAD + END + HEAD + END, [HEAD, HEAD], b""),
    (b"\r\n\r\n\r\n" + HEAD + END + b"\r\n" + HEAD + END, [HEAD, HEAD], b""),
    (HEAD + END + b"\r\n", [HEAD], b""),
    (HEAD + END + b"\r", [HEAD], b"\r"),
    (HEAD + END + b"P", [HEAD], b"P"),
    (b"x" + END, [b"x"], b""),  # whether it is a head is for its parser to say
]


@pytest.mark.parametrize(("data", "heads", "rest"), STREAMS)
def test_every_cut_gives_the_same_heads(data: bytes, heads: list[bytes], rest: bytes) -> None:
    assert cut([data]) == (heads, rest)
    assert cut(bytewise(data)) == (heads, rest)
    for at in range(len(data) + 1):
        assert cut([data[:at], data[at:]]) == (heads, rest)


@given(st.lists(st.sampled_from([HEAD + END, b"\r\n", b"A / HTTP/1.1\r\nx:y" + END]), max_size=5), st.data())
def test_any_cut_of_any_stream(parts: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(parts)
    places = data.draw(st.lists(st.integers(0, len(wire)), max_size=8))
    assert cut(split_at(wire, *places)) == cut([wire])


@pytest.mark.parametrize(
    "start",
    [
        b"\n",
        b"\r\r",
        b" ",
        b"\0",
        b"\x16\x03\x01",  # a TLS ClientHello
        b"(",
        b"GET / HTTP/1.1\nHost: b\r\n",
        b"GET / HTTP/1.1\rHost",
        b"GET / HTTP/1.1\r\n Host: b",
        b"GET / HTTP/1.1\r\n\tHost: b",
        b"GET /\0",
    ],
)
def test_what_can_be_no_head_is_refused_before_its_end(start: bytes) -> None:
    for pieces in ([start], bytewise(start), *([start[:at], start[at:]] for at in range(1, len(start)))):
        error = refusal(pieces)
        assert (error.status, str(error)) == (400, "not a valid HTTP request")


@given(st.binary(max_size=60), st.data())
def test_a_cut_never_turns_a_refusal_into_a_head(noise: bytes, data: st.DataObject) -> None:
    """In a whole head its parser finds the fault; in pieces it may be found before the end."""
    places = data.draw(st.lists(st.integers(0, len(noise)), max_size=5))
    try:
        found = cut(split_at(noise, *places))
    except BadRequest:
        return
    assert found == cut([noise])


def test_the_largest_head_in_any_pieces() -> None:
    head = HEAD + b"\r\nX: "
    head += b"y" * (INCOMING_HEAD_MAX - len(END) - len(head))
    data = head + END
    for pieces in ([data], [data[:-1], data[-1:]], [data[:-4], data[-4:]], split_at(data, 100, 9000)):
        assert cut(pieces) == ([head], b"")
    for pieces in ([head + b"y" + END], [head + b"y", END], [head, b"y" + END], [head + b"yyyy"]):
        error = refusal(pieces)
        assert (error.status, str(error)) == (FIELDS_TOO_LARGE, "the request's head is too large")


def test_a_target_that_does_not_end_is_refused_as_one() -> None:
    data = b"GET /" + b"a" * (INCOMING_FIELD_MAX + 200)
    for pieces in ([data], [data[:100], data[100:]], [data[at : at + 512] for at in range(0, len(data), 512)]):
        error = refusal(pieces)
        assert (error.status, str(error)) == (TARGET_TOO_LONG, "the request's target is too long")


def test_blank_lines_are_no_start_of_a_head() -> None:
    buffer = HeadBuffer()
    for piece in (b"\r\n", b"\r\n\r\n", b""):
        assert buffer.cut(piece, 0) is None
        assert not buffer.started
    assert buffer.cut(b"\r", 0) is None
    assert buffer.started
    assert buffer.cut(b"\n", 0) is None
    assert not buffer.started


def test_the_rest_of_an_incomplete_head_is_handed_over_once() -> None:
    buffer = HeadBuffer()
    assert buffer.rest() == b""
    assert buffer.cut(b"GET ", 0) is None
    assert buffer.cut(b"/ HT", 0) is None
    assert buffer.rest() == b"GET / HT"
    assert not buffer.started
    assert buffer.cut(HEAD + END, 0) == (HEAD, len(HEAD + END))


@pytest.mark.parametrize(("first", "second"), list(pairwise([0, 1, 7, 30])))
def test_only_the_bytes_from_the_offset_count(first: int, second: int) -> None:
    buffer = HeadBuffer()
    data = b"?" * first + HEAD[:10]
    assert buffer.cut(data, first) is None
    data = b"\0" * second + HEAD[10:] + END + b"next"
    assert buffer.cut(data, second) == (HEAD, second + len(HEAD[10:] + END))
