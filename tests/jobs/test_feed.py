"""Input for a process: in order, all of it, bounded, and ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.jobs.feed import Feed
from pagent.limits import EXEC_INPUT_MAX
from tests.jobs.conftest import PATIENCE_S


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    os.set_blocking(write, False)
    yield read, write
    os.close(read)


async def read_all(descriptor: int) -> bytes:
    def read() -> bytes:
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()

    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.to_thread(read)


async def test_much_arrives_in_order_and_then_its_end(pipe: tuple[int, int]) -> None:
    blocked: list[bool] = []
    feed = Feed(pipe[1], False, blocked.append)
    pieces = [os.urandom(300_000) for _ in range(20)]
    for piece in pieces:
        feed.write(piece)
    assert blocked == [True]
    feed.end()
    feed.end()
    feed.write(b"too late")
    assert await read_all(pipe[0]) == b"".join(pieces)
    assert blocked == [True, False]
    feed.close()


async def test_a_large_message_takes_time_in_proportion_to_its_size(pipe: tuple[int, int]) -> None:
    """A write of 64 KiB does not copy the rest of the input: 64 MiB would be copied 512 times over."""
    feed = Feed(pipe[1], False, lambda blocked: None)
    feed.write(bytes(64 * 1024 * 1024))
    feed.end()
    before = os.times()
    assert len(await read_all(pipe[0])) == 64 * 1024 * 1024
    after = os.times()
    assert after.user - before.user + after.system - before.system < 5


@given(st.lists(st.binary(max_size=40)))
def test_every_split_gives_the_same(pieces: list[bytes]) -> None:
    async def feed_all() -> bytes:
        read, write = os.pipe()
        os.set_blocking(write, False)
        feed = Feed(write, False, lambda blocked: pytest.fail("it is not much"))
        for piece in pieces:
            feed.write(piece)
        feed.end()
        try:
            return os.read(read, 65536)
        finally:
            os.close(read)

    assert asyncio.run(feed_all()) == b"".join(pieces)


async def test_a_reader_that_is_gone_takes_the_rest_with_it() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    unblocked = asyncio.Event()
    feed = Feed(write, False, lambda blocked: None if blocked else unblocked.set())
    feed.write(bytes(EXEC_INPUT_MAX * 4))
    os.close(read)
    async with asyncio.timeout(PATIENCE_S):
        await unblocked.wait()
    feed.write(b"more")
    feed.end()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write)


async def test_closed_with_something_left(pipe: tuple[int, int]) -> None:
    blocked: list[bool] = []
    feed = Feed(pipe[1], False, blocked.append)
    feed.write(bytes(EXEC_INPUT_MAX * 4))
    feed.close()
    feed.close()
    assert blocked == [True, False]
    assert len(await read_all(pipe[0])) < EXEC_INPUT_MAX * 4
