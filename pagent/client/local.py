"""Local files of a transfer: read, written and hashed in threads, so that the loop waits for no data of a disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from pagent.client.pieces import pieces_of
from pagent.jobs.beneath import FOLDER
from pagent.jobs.sandbox import Sandbox
from pagent.limits import DISK_END_S, MIB
from pagent.runtime.threads import ThreadPool

StrPath = str | os.PathLike[str]

#: Called with the bytes done and the bytes there are, after each step and on the loop: it must not block.
Progress = Callable[[int, int], None]

#: Read at a time: a hop to a thread costs as much as reading some ten KiB.
_READ: Final = MIB


def ignore(done: int, total: int) -> None:
    """The progress that nobody asked for."""


async def pieces(file: IO[bytes]) -> AsyncIterator[memoryview]:
    """The rest of a file in messages of the size that agents take best."""
    while data := await asyncio.to_thread(file.read, _READ):
        for piece in pieces_of(data):
            yield piece


async def sha256_of(path: Path) -> str:
    """Digest of a file, in hex."""

    def digest() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return await asyncio.to_thread(digest)


class LocalPart:
    """A local file on its way in: written as ``NAME.part`` beside the target, which it replaces once it is whole.

    ``have`` bytes are there already. Left by an error, the part is deleted, or kept with ``resume``.
    """

    def __init__(self, target: StrPath, *, resume: bool) -> None:
        self.path = Path(target).with_name(Path(target).name + ".part")
        self.have = 0
        self._target = Path(target)
        self._resume = resume
        self._file: IO[bytes] | None = None

    def begin_anew(self) -> None:
        """What there is already is of no use."""
        self.have = 0

    def measure(self) -> None:
        """Set ``have``."""
        if self._resume and self.path.is_file():
            self.have = self.path.stat().st_size

    async def write(self, data: bytes | memoryview) -> None:
        """The next bytes; OSError."""
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes | memoryview) -> None:
        self._opened().write(data)

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._file = self.path.open("ab" if self.have else "wb")
        return self._file

    async def flush(self) -> None:
        """Put all that was written where other descriptors see it. OSError."""
        await asyncio.to_thread(lambda: self._opened().flush())

    async def commit(self) -> None:
        """It is whole: let the target appear. OSError."""
        await asyncio.to_thread(self._commit)

    def _commit(self) -> None:
        self._opened().close()
        self.path.replace(self._target)

    def discard(self) -> None:
        """Delete what there is, whatever ``resume`` says."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.measure)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if error is not None and not self._resume:
            self.path.unlink(missing_ok=True)


@asynccontextmanager
async def local_folder(path: StrPath, *, create: bool = False) -> AsyncIterator[tuple[ThreadPool, Sandbox]]:
    """A folder of this machine as archives take one, and the thread to work on it; nothing leads out of it."""
    threads = ThreadPool("pagent-archive", 1)
    descriptor = await threads.run(_open_folder, path, create)
    try:
        yield threads, Sandbox(Path(path), descriptor)
    finally:
        threads.submit(os.close, descriptor)  # in the one thread, so after the work that may still be under way
        await threads.close(DISK_END_S)


def _open_folder(path: StrPath, create: bool) -> int:
    if create:
        os.makedirs(path, exist_ok=True)
    return os.open(path, FOLDER)
