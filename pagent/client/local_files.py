"""Local files and folders of a transfer. They are read in threads, so that a slow disk does not block the loop."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pagent.files.holes import HOLE_LEAST, data_at, hole_at, missing
from pagent.jobs.openat_beneath import FOLDER
from pagent.jobs.sandbox import Sandbox
from pagent.limits import DISK_END_S, MIB
from pagent.runtime.threads import ThreadPool

StrPath = str | os.PathLike[str]

#: Called on the loop after each step, with the bytes done and the total. It must not block.
Progress = Callable[[int, int], None]

#: Bytes of one read. Handing work to a thread costs as much as reading ten KiB.
_READ_BYTES: Final = MIB


def no_progress(done: int, total: int) -> None:
    """Ignore progress (the default)."""


class LocalFile:
    """A local file to be uploaded, from ``offset`` on. :func:`reading` opens one. ``size`` is the whole size."""

    def __init__(self, path: StrPath, offset: int, *, holes: bool) -> None:
        self._path = path
        self._at = offset
        self._finds_holes = holes
        self._file = -1
        self._is_regular = False
        self.size = 0

    def open(self) -> None:
        """Open the file. Opening a FIFO waits for its writer. OSError."""
        self._file = os.open(self._path, os.O_RDONLY)
        found = os.fstat(self._file)
        self._is_regular = stat.S_ISREG(found.st_mode)
        self.size = found.st_size
        self._finds_holes = self._finds_holes and self._is_regular and missing(found) >= HOLE_LEAST
        if self._is_regular:
            os.lseek(self._file, self._at, os.SEEK_SET)

    def read(self) -> bytes | int:
        """Return the next bytes, or the length of the hole that follows; b"" at the end."""
        wanted = _READ_BYTES
        if self._finds_holes and self._at < self.size:
            if hole := hole_at(self._file, self._at, self.size):
                self._at += hole
                return hole
            wanted = data_at(self._file, self._at, min(self.size, self._at + _READ_BYTES))
        data = os.pread(self._file, wanted, self._at) if self._is_regular else os.read(self._file, wanted)
        self._at += len(data)
        return data

    def digests(self, size: int) -> tuple[str, str]:
        """Return the SHA-256 digests of the first ``size`` bytes and of the whole file, in hex.

        ValueError: it is not a regular file.
        """
        if not self._is_regular:
            raise ValueError(f"{os.fspath(self._path)} is not a regular file: its upload cannot be resumed")
        digest = hashlib.sha256()
        at = 0
        begin = digest.hexdigest()
        while data := os.pread(self._file, min(_READ_BYTES, size - at) if at < size else _READ_BYTES, at):
            digest.update(data)
            at += len(data)
            if at == size:
                begin = digest.hexdigest()
        return begin, digest.hexdigest()

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@asynccontextmanager
async def reading(
    path: StrPath, offset: int = 0, *, holes: bool = False
) -> AsyncIterator[tuple[ThreadPool, LocalFile]]:
    """Open a local file; yield it with a thread to read it in. A hanging read does not keep the process."""
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
    """Open a local folder; yield it as a sandbox for archives, with a thread to work in."""
    threads = ThreadPool("pagent-archive", 1)
    try:
        descriptor = await threads.run(_open_folder, path, create)
        try:
            yield threads, Sandbox(Path(path), descriptor)
        finally:
            threads.submit(os.close, descriptor)  # in the one thread, so after its current work
    finally:
        await threads.close(DISK_END_S)


def _open_folder(path: StrPath, create: bool) -> int:
    if create:
        os.makedirs(path, exist_ok=True)
    return os.open(path, FOLDER)
