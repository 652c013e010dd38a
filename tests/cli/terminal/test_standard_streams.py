"""Output that is written to a standard stream whose reader is slow or gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pagent.cli.terminal import standard_streams
from tests.kit.descriptors import replaced

#: More than a pipe holds.
DATA = bytes(range(256)) * 4096


@contextmanager
def piped() -> Iterator[int]:
    """Make a pipe standard output within the block; yield its reading end, which the test closes."""
    source, sink = os.pipe()
    with replaced(1, sink):
        yield source


def read_all(descriptor: int, size: int) -> bytes:
    data = b""
    with open(descriptor, "rb") as stream:
        while len(data) < size and (piece := stream.read1()):
            data += piece
    return data


@pytest.mark.parametrize("blocks", [True, False])
async def test_all_bytes_are_written_to_a_slow_reader(blocks: bool) -> None:
    with piped() as reading_end:
        os.set_blocking(1, blocks)
        writing = asyncio.ensure_future(standard_streams.write(1, DATA))
        for _ in range(100):  # the pipe is full before it is read
            await asyncio.sleep(0)
        assert await asyncio.to_thread(read_all, reading_end, len(DATA)) == DATA
        await writing


async def test_an_error_names_the_stream() -> None:
    with piped() as reading_end:
        os.close(reading_end)
        with pytest.raises(BrokenPipeError) as caught:
            await standard_streams.write(1, b"x")
    assert caught.value.filename == "standard output"
