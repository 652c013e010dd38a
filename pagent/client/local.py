"""Local files of a transfer: read and hashed in threads, so that the loop waits for no data of a disk."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pagent.files.holes import HOLE_LEAST, data_at, hole_at, missing
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
    """Progress that is not asked for."""


class LocalFile:
    """A local file on its way out, from ``offset`` on; :func:`reading` opens one. ``size``: of the whole file."""

    def __init__(self, path: StrPath, offset: int, *, holes: bool) -> None:
        self._path = path
        self._at = offset
        self._tells_holes = holes
        self._file = -1
        self._is_regular = False
        self.size = 0

    def open(self) -> None:
        """OSError. A FIFO waits for its writer."""
        self._file = os.open(self._path, os.O_RDONLY)
        found = os.fstat(self._file)
        self._is_regular = stat.S_ISREG(found.st_mode)
        self.size = found.st_size
        self._tells_holes = self._tells_holes and self._is_regular and missing(found) >= HOLE_LEAST
        if self._is_regular:
            os.lseek(self._file, self._at, os.SEEK_SET)

    def read(self) -> bytes | int:
        """The next bytes, or the length of the hole that is next; b"" at the end."""
        wanted = _READ
        if self._tells_holes and self._at < self.size:
            if hole := hole_at(self._file, self._at, self.size):
                self._at += hole
                return hole
            wanted = data_at(self._file, self._at, min(self.size, self._at + _READ))
        data = os.pread(self._file, wanted, self._at) if self._is_regular else os.read(self._file, wanted)
        self._at += len(data)
        return data

    def digest(self) -> str:
        """SHA-256 of the whole file, in hex. ValueError for what can be read only once."""
        if not self._is_regular:
            raise ValueError(f"{os.fspath(self._path)} is no regular file: an upload of it cannot be resumed")
        digest = hashlib.sha256()
        at = 0
        while data := os.pread(self._file, _READ, at):
            digest.update(data)
            at += len(data)
        return digest.hexdigest()

    def close(self) -> None:
        """Nothing if it is not open."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@asynccontextmanager
async def reading(
    path: StrPath, offset: int = 0, *, holes: bool = False
) -> AsyncIterator[tuple[ThreadPool, LocalFile]]:
    """A local file that is open, and the thread to read it in, which does not keep the process if the file hangs."""
    threads = ThreadPool("pagent-file", 1)
    file = LocalFile(path, offset, holes=holes)
    try:
        await threads.run(file.open)
        yield threads, file
    finally:
        threads.submit(file.close)
        await threads.close(DISK_END_S)


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
