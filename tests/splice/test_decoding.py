"""An encoded body is decoded no faster than its stream takes it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest

from pagent.buffers import BODY_CHUNK
from pagent.http1.coding import decoder_for
from pagent.http1.decoder import CodingError
from pagent.splice.decoding import DECODE_AT_ONCE, DECODE_COST_MIN, Decoding


class Narrow:
    """A stream end that is blocked after each message."""

    def __init__(self) -> None:
        self.blocked = False
        self.sent: list[bytes] = []

    def attach(self, receiver: Any) -> None: ...

    def send(self, value: Any) -> None:
        self.sent.append(bytes(value))
        self.blocked = True

    def hold(self) -> None: ...

    def release(self) -> None: ...


class Wide(Narrow):
    """A stream end that takes all messages."""

    def send(self, value: Any) -> None:
        self.sent.append(bytes(value))


def decoding(
    stream: Narrow, done: list[bool], pause: Callable[[int], None] = lambda count: None, coding: str = "gzip"
) -> Decoding:
    decoder = decoder_for(coding)
    assert decoder is not None
    return Decoding(decoder, stream, lambda: done.append(True), pause)


def test_one_piece_for_each_time_that_the_stream_is_free() -> None:
    stream = Narrow()
    done: list[bool] = []
    work = decoding(stream, done)
    work.add(gzip.compress(bytes(3_000_000)))
    work.end()
    while not done:
        count = len(stream.sent)
        stream.blocked = False
        work.run()
        assert len(stream.sent) <= count + 1
    assert b"".join(stream.sent) == bytes(3_000_000)
    assert done == [True]


def test_an_end_before_the_coded_data_ends_is_an_error() -> None:
    stream = Narrow()
    done: list[bool] = []
    work = decoding(stream, done)
    work.add(gzip.compress(b"hello")[:-4])
    stream.blocked = False
    with pytest.raises(CodingError):
        work.end()
    assert done == []


def test_a_caller_that_takes_everything_gets_a_bounded_part_in_each_iteration() -> None:
    stream = Wide()
    done: list[bool] = []
    pauses: list[int] = []
    size = 10 * DECODE_AT_ONCE
    work = decoding(stream, done, pauses.append)
    work.add(gzip.compress(bytes(size)))
    work.end()
    turns = 0
    while not done:
        assert work.paused
        before = sum(map(len, stream.sent))
        work.run()  # the stream was full and is free again: that does not lengthen its part
        assert sum(map(len, stream.sent)) == before
        work.resume()
        assert sum(map(len, stream.sent)) <= before + DECODE_AT_ONCE + BODY_CHUNK
        turns += 1
    assert b"".join(stream.sent) == bytes(size)
    assert turns == len(pauses) >= 9
    assert all(DECODE_AT_ONCE <= count < DECODE_AT_ONCE + BODY_CHUNK for count in pauses)


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip"])
def test_work_without_output_takes_turns_as_well(coding: str) -> None:
    members = gzip.compress(b"") * 4 * (DECODE_AT_ONCE // DECODE_COST_MIN)
    stream = Wide()
    done: list[bool] = []
    pauses: list[int] = []
    work = decoding(stream, done, pauses.append, coding)
    work.add(gzip.compress(members) if "," in coding else members)
    work.end()
    while not done:
        work.resume()
    assert stream.sent == []
    assert len(pauses) >= 3
