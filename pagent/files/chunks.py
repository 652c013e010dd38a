"""Read a file as an async iterator of chunks.

A thread reads blocks of 256 KiB and more; the event loop slices them without copying. The first block is read in the
hop that opens, so a small file takes one hop to open and read, and one to close.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pagent.files.arguments import checked_chunk_size
from pagent.files.disk_work import DISK_BLOCK, DISK_PIECE, DiskWork
from pagent.runtime.threads import Threads


class Chunks(ABC):
    """Iterates once over ``size`` bytes in chunks of ``chunk_size``; the last one may be shorter.

    It is closed by its end, by an error, by :meth:`close` and by ``async with``.
    """

    def __init__(self, threads: Threads, name: str, chunk_size: int) -> None:
        # For life.
        self.size = 0
        self._name = name
        self._chunk_size = checked_chunk_size(chunk_size)
        self._work = DiskWork(threads, self._clean_up)
        # The next block to read.
        self._block_size = chunk_size * -(-DISK_PIECE // chunk_size)
        self._next_size = max(self._block_size, DISK_BLOCK // chunk_size * chunk_size)
        self._left = 0  # bytes of `size` that are not in a block yet
        # The block that chunks are taken from.
        self._block = memoryview(b"")
        self._used = 0
        self._hole = 0  # zeros that come before the next block
        self._complete = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview | int:
        """Return bytes, or the length of a hole if the source reports holes."""
        if self._used == len(self._block) and not self._hole:
            await self._next_block()
        if self._hole:
            hole, self._hole = self._hole, 0
            return hole
        start = self._used
        self._used = min(start + self._chunk_size, len(self._block))
        return self._block[start : self._used]

    async def close(self) -> None:
        """End at any moment. A second call does nothing."""
        await self._work.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _start(self, opening: Callable[[], int]) -> None:
        """Open in a thread; ``opening`` returns the size. After an error nothing stays open."""
        try:
            await self._work.run(self._open_and_read, opening)
        except BaseException:
            await self.close()
            raise

    async def _next_block(self) -> None:
        self._block, self._used = memoryview(b""), 0
        if self._complete:
            raise StopAsyncIteration
        try:
            if self._left:
                await self._work.run(self._read_on)
                self._block_size = self._next_size
                return
            await self._work.run_last(self._after_last_chunk)
        except BaseException:
            await self.close()
            raise
        self._complete = True
        raise StopAsyncIteration

    # --- in a thread ------------------------------------------------------------------------------

    def _open_and_read(self, opening: Callable[[], int]) -> None:
        self.size = self._left = opening()
        if self._left:
            self._read_on()

    def _read_on(self) -> None:
        self._hole = self._skip_hole(self._left)
        self._left -= self._hole
        if not self._hole:
            self._read_block()

    def _skip_hole(self, most: int) -> int:
        """Skip the hole that comes next; return its length, 0 for none."""
        return 0

    def _read_block(self) -> None:
        """Read a whole block, or the rest: only the last chunk, and the last before a hole, may be shorter."""
        wanted = self._data(min(self._left, self._block_size))
        parts: list[bytes] = []
        left = wanted
        while left:
            part = self._read(left)
            if not part:
                raise OSError(errno.EIO, "it became shorter while it was sent", self._name)
            parts.append(part)
            left -= len(part)
        self._left -= wanted
        self._block, self._used = memoryview(b"".join(parts)), 0

    def _data(self, most: int) -> int:
        """Return the bytes before the next hole, at most ``most``."""
        return most

    @abstractmethod
    def _read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``; b"" at the end."""

    @abstractmethod
    def _clean_up(self) -> None:
        """Close the descriptors. Called once, also if opening failed."""

    @abstractmethod
    def _after_last_chunk(self) -> None:
        """Do the work after the last chunk, before the clean-up."""
