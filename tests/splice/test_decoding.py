"""An encoded body is decoded no faster than its stream takes it."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from pagent.http1.coding import CodingError, decoder_for
from pagent.splice.decoding import Decoding


class Narrow:
    """A stream end that is blocked after each message."""

    def __init__(self) -> None:
        self.blocked = False
        self.sent: list[bytes] = []

    def attach(self, receiver: Any) -> None: ...

    def send(self, value: Any) -> None:
        self.sent.append(bytes(value))
        self.blocked = True

    def send_packed(self, packed: bytes) -> None: ...

    def hold(self) -> None: ...

    def release(self) -> None: ...


def decoding(stream: Narrow, done: list[bool]) -> Decoding:
    decoder = decoder_for("gzip")
    assert decoder is not None
    return Decoding(decoder, stream, lambda: done.append(True))


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


def test_an_end_too_early_is_an_error() -> None:
    stream = Narrow()
    done: list[bool] = []
    work = decoding(stream, done)
    work.add(gzip.compress(b"hello")[:-4])
    stream.blocked = False
    with pytest.raises(CodingError):
        work.end()
    assert done == []
