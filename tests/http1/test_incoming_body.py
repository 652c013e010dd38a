"""The body of a client's request: its pieces, its end, and what follows it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.chunked import CHUNK_JOIN_MAX
from pagent.http1.incoming import BadRequest, read_head
from pagent.http1.incoming_body import IncomingBody
from pagent.limits import FRAMES_AT_ONCE
from tests.http1.sinks import split_at

START = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked"


class Rig:
    """A body, and the pieces that it passes on."""

    def __init__(self, head: bytes) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.body = IncomingBody(read_head(head), self.pieces.append)

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)

    def feed(self, *pieces: bytes) -> bytes | None:
        """Return the bytes after the body; None if it has not ended."""
        for number, piece in enumerate(pieces):
            end = self.body.feed(piece, 0)
            while end is None and self.body.more:
                end = self.body.feed(b"", 0)
                assert end is None or end <= 0 or piece
            if end is not None:
                return piece[end:] + b"".join(pieces[number + 1 :])
        return None


def of_length(length: int) -> Rig:
    return Rig(START + b"Content-Length: %d" % length)


@pytest.mark.parametrize("length", [1, 5, CHUNK_JOIN_MAX, CHUNK_JOIN_MAX + 1])
def test_a_body_ends_with_its_length(length: int) -> None:
    data = bytes(range(256)) * (length // 256 + 1)
    wire = data[:length] + b"GET"
    for at in (0, 1, length - 1, length, length + 1):
        rig = of_length(length)
        assert rig.feed(wire[:at], wire[at:]) == b"GET"
        assert rig.content == data[:length]
        assert all(rig.pieces)
        assert (rig.body.more, rig.body.trailers) == (False, [])


def test_a_body_that_has_not_ended() -> None:
    rig = of_length(5)
    assert rig.feed(b"abc", b"", b"d") is None
    assert rig.content == b"abcd"


def test_a_body_begins_at_the_offset() -> None:
    rig = of_length(3)
    assert rig.body.feed(b"headabcnext", 4) == 7
    assert rig.content == b"abc"
    rig = of_length(3)
    assert rig.body.feed(b"head", 4) is None
    assert rig.pieces == []


def test_large_pieces_are_not_copied() -> None:
    rig = of_length(CHUNK_JOIN_MAX)
    data = b"x" + bytes(CHUNK_JOIN_MAX) + b"y"
    assert rig.body.feed(data, 1) == len(data) - 1
    (piece,) = rig.pieces
    assert isinstance(piece, memoryview)
    assert piece.obj is data


def test_a_head_without_a_body_has_none() -> None:
    for head in (b"GET / HTTP/1.1\r\nHost: a", START + b"Content-Length: 0"):
        rig = Rig(head)
        assert rig.feed(b"") == b""
        assert rig.feed(b"GET") == b"GET"
        assert rig.pieces == []


WIRE = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX-A: 1\r\nHost: evil\r\nX-Real-IP: 9\r\n\r\nGET"


@given(st.lists(st.integers(0, len(WIRE)), max_size=8))
def test_any_cut_of_a_chunked_body(places: list[int]) -> None:
    rig = Rig(CHUNKED)
    assert rig.feed(*split_at(WIRE, *places)) == b"GET"
    assert rig.content == b"hello!"
    assert all(rig.pieces)


def test_trailers_that_name_the_origin_or_the_hop_are_dropped() -> None:
    rig = Rig(CHUNKED)
    assert rig.body.trailers == []
    rig.feed(WIRE)
    assert rig.body.trailers == [["X-A", "1"]]


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize(
    "wire", [b"5\r\nhello0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"-5\r\nhello", b"0x5\r\nhello", b"g\r\n"]
)
def test_a_body_that_is_not_well_chunked(wire: bytes, at: int) -> None:
    rig = Rig(CHUNKED)
    with pytest.raises(BadRequest, match="the request's body is not chunked as it should be") as caught:
        rig.feed(wire[:at], wire[at:], b"\r\n\r\n")
    assert caught.value.status == 400
    assert rig.content in (b"", b"hello")


def test_very_many_chunks_take_several_turns() -> None:
    rig = Rig(CHUNKED)
    wire = b"1\r\na\r\n" * (2 * FRAMES_AT_ONCE) + b"0\r\n\r\n"
    end = rig.body.feed(wire, 0)
    turns = 1
    while end is None:
        assert rig.body.more
        end = rig.body.feed(b"", 0)
        turns += 1
    assert turns > 2
    assert not rig.body.more
    assert rig.content == b"a" * (2 * FRAMES_AT_ONCE)
