"""A source in chunks: their sizes, its holes, and its end after an error. ``test_download.py`` has real files."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pagent.files.chunks import Chunks
from pagent.files.disk_work import DISK_PIECE
from pagent.runtime.threads import ThreadPool, Threads
from tests.kit.peer import PATIENCE_S


class Source(Chunks):
    """Bytes and holes from a list; ``events`` notes what is done in the thread."""

    def __init__(self, threads: Threads, chunk_size: int, *parts: bytes | int, short_by: int = 0) -> None:
        super().__init__(threads, "the name", chunk_size)
        self.parts = list(parts)
        self.short_by = short_by
        self.events: list[str] = []

    async def begin(self, error: Exception | None = None) -> Source:
        def opening() -> int:
            if error is not None:
                raise error
            return sum(part if isinstance(part, int) else len(part) for part in self.parts) + self.short_by

        await self._start(opening)
        return self

    def _skip_hole(self, most: int) -> int:
        return self.parts.pop(0) if self.parts and isinstance(self.parts[0], int) else 0  # type: ignore[return-value]

    def _data(self, most: int) -> int:
        return min(most, len(self.parts[0])) if self.parts and isinstance(self.parts[0], bytes) else most

    def _read(self, size: int) -> bytes:
        if not self.parts or not isinstance(self.parts[0], bytes):
            return b""
        taken, rest = self.parts[0][: min(size, 1000)], self.parts[0][min(size, 1000) :]
        self.parts[:1] = [rest] if rest else []
        return taken

    def _clean_up(self) -> None:
        self.events.append("closed")

    def _after_last_chunk(self) -> None:
        self.events.append("after the last")


@pytest_asyncio.fixture
async def threads() -> AsyncIterator[ThreadPool]:
    pool = ThreadPool("test", 1)
    yield pool
    await pool.close(PATIENCE_S)


async def pieces_of(source: Source) -> list[bytes | int]:
    return [piece if isinstance(piece, int) else bytes(piece) async for piece in source]


@pytest.mark.parametrize("chunk_size", [1, 7, 1000, DISK_PIECE, DISK_PIECE + 1])
async def test_only_the_last_chunk_is_shorter(threads: ThreadPool, chunk_size: int) -> None:
    data = bytes(range(250)) * 12
    source = await Source(threads, chunk_size, data).begin()
    assert source.size == len(data)
    assert await pieces_of(source) == [data[at : at + chunk_size] for at in range(0, len(data), chunk_size)]
    assert source.events == ["after the last", "closed"]
    assert await pieces_of(source) == []  # it iterates once
    await source.close()
    assert source.events == ["after the last", "closed"]


async def test_an_empty_source(threads: ThreadPool) -> None:
    source = await Source(threads, 10).begin()
    assert (source.size, await pieces_of(source)) == (0, [])
    assert source.events == ["after the last", "closed"]


@pytest.mark.parametrize("parts", [(5,), (5, b"ab"), (b"ab", 5), (5, b"abcdefg", 7, b"x", 9), (3, 4, b"x")])
async def test_holes_keep_their_places(threads: ThreadPool, parts: tuple[bytes | int, ...]) -> None:
    source = await Source(threads, 4, *parts).begin()
    content = b"".join(bytes(piece) for piece in await pieces_of(source))  # a hole is as many zeros
    assert content == b"".join(bytes(part) for part in parts)
    assert source.size == len(content)


async def test_a_source_that_becomes_shorter_is_an_error_and_closed(threads: ThreadPool) -> None:
    source = await Source(threads, 4, b"a" * (2 * DISK_PIECE), short_by=1).begin()
    with pytest.raises(OSError, match="it became shorter while it was sent: 'the name'") as caught:
        await pieces_of(source)
    assert caught.value.errno == errno.EIO
    assert source.events == ["closed"]


async def test_a_source_that_cannot_be_opened_is_closed(threads: ThreadPool) -> None:
    source = Source(threads, 4, b"x")
    with pytest.raises(FileNotFoundError):
        await source.begin(FileNotFoundError("none"))
    assert source.events == ["closed"]


async def test_a_source_that_is_left_early_is_closed_without_its_last_work(threads: ThreadPool) -> None:
    source = await Source(threads, 1, b"abc").begin()
    async with source:
        assert [bytes(piece) async for piece in _first(source)] == [b"a"]  # type: ignore[arg-type]
    assert source.events == ["closed"]


async def _first(source: Source) -> AsyncIterator[memoryview | int]:
    yield await source.__anext__()
