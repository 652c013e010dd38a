"""Bytes from the disk as an async iterator of chunks.

A thread reads blocks of 256 KiB and more; the loop slices them, without copying. The first block is read in the hop
that opens, so a small file costs one hop for opening and reading and one for closing.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pagent import limits
from pagent.files.pieces import DISK_BLOCK, DISK_PIECE, Pieces
from pagent.runtime.threads import Threads


def checked_chunk_size(value: object) -> int:
    """An int from 1 to 1 MiB; TypeError (a bool and a float too), ValueError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"chunk_size must be an int, not {type(value).__name__}")
    if not 1 <= value <= limits.CHUNK_MAX:
        raise ValueError(f"chunk_size must be from 1 to {limits.CHUNK_MAX}: {value}")
    return value


class Chunks(ABC):
    """``size`` bytes in chunks of ``chunk_size``, the last one shorter; closed by its end, an error, :meth:`close`.

    ``async with`` closes it too. Iterate once.
    """

    def __init__(self, threads: Threads, name: str, chunk_size: int) -> None:
        self.size = 0
        self._name = name
        self._chunk_size = checked_chunk_size(chunk_size)
        self._block_size = chunk_size * -(-DISK_PIECE // chunk_size)
        self._next_size = max(self._block_size, DISK_BLOCK // chunk_size * chunk_size)
        self._pieces = Pieces(threads, self._clean_up)

        self._block = memoryview(b"")
        self._used = 0  # of the block
        self._hole = 0  # zeros that come before the next block
        self._left = 0  # bytes of `size` that are not yet in a block
        self._complete = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview | int:
        """Bytes, or the length of a hole, of one that says where it has some."""
        if self._used == len(self._block) and not self._hole:
            await self._next_block()
        if self._hole:
            hole, self._hole = self._hole, 0
            return hole
        start = self._used
        self._used = min(start + self._chunk_size, len(self._block))
        return self._block[start : self._used]

    async def close(self) -> None:
        """Give up, at any moment. Nothing the second time."""
        await self._pieces.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _start(self, opening: Callable[[], int]) -> None:
        """Open in a thread; ``opening`` gives the size. Whatever happens, nothing stays open after an error."""
        try:
            await self._pieces.run(self._open_and_read, opening)
        except BaseException:
            await self.close()
            raise

    async def _next_block(self) -> None:
        self._block, self._used = memoryview(b""), 0
        if self._complete:
            raise StopAsyncIteration
        try:
            if self._left:
                await self._pieces.run(self._read_on)
                self._block_size = self._next_size
                return
            await self._pieces.run_last(self._handed_out)
        except BaseException:
            await self.close()
            raise
        self._complete = True
        raise StopAsyncIteration

    # --- in a thread ------------------------------------------------------------------------------

    def _open_and_read(self, opening: Callable[[], int]) -> None:
        self.size = self._left = opening()
        if self._left and not self._skip():
            self._read_block()

    def _read_on(self) -> None:
        if not self._skip():
            self._read_block()

    def _skip(self) -> bool:
        """Is there a hole at this place?"""
        self._hole = self._skip_hole(self._left)
        self._left -= self._hole
        return self._hole > 0

    def _skip_hole(self, most: int) -> int:
        """Length of the hole that comes next, which is skipped; 0 for none."""
        return 0

    def _read_block(self) -> None:
        """Exactly a block, or what is left: every chunk but the last, and the last before a hole, has its full size."""
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
        """Bytes before the next hole, ``most`` at most."""
        return most

    @abstractmethod
    def _read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; b"" if there are none."""

    @abstractmethod
    def _clean_up(self) -> None:
        """Close what is open; called once, also if opening failed."""

    @abstractmethod
    def _handed_out(self) -> None:
        """All of it has been handed out; in a thread, before the clean-up."""
