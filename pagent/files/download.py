"""Send one file of a sandbox in chunks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from pagent.files.arguments import checked_count
from pagent.files.chunks import Chunks
from pagent.files.condition import version_of
from pagent.files.holes import HOLE_LEAST, check_holes, data_at, hole_at, missing
from pagent.files.sandbox_access import SandboxAccess
from pagent.runtime.threads import Threads


class Download(Chunks):
    """A file on its way out: ``size`` bytes in chunks (`chunks`)."""

    def __init__(
        self, threads: Threads, sandbox: SandboxAccess, path: str, chunk_size: int, *, holes: bool = False
    ) -> None:
        super().__init__(threads, path, chunk_size)
        self._sandbox = sandbox
        self._path = path
        self._reports_holes = holes

        self._file = -1  # used in threads only, as all below
        self._at = self._end = 0
        self._remove_as: tuple[int, int] | None = None
        #: The whole file as it was opened, for peers.
        self.file: dict[str, Any] = {}

    @classmethod
    async def open(
        cls,
        threads: Threads,
        sandbox: SandboxAccess,
        path: str,
        *,
        chunk_size: int = 65536,
        offset: int = 0,
        length: int | None = None,
        remove: bool = False,
        holes: bool = False,
    ) -> Self:
        """Start to send at most ``length`` bytes of ``path``, from ``offset`` on.

        ``holes``: holes of a sparse file are sent as their lengths. Otherwise they are sent as zeros, up to a limit.

        Bytes that are appended meanwhile are not sent; OSError if the file becomes shorter. ``remove`` deletes the file
        after its last byte was sent, if it is still the same file. TypeError, ValueError, OSError.
        """
        checked_count("offset", offset)
        if length is not None:
            checked_count("length", length)
        download = cls(threads, sandbox, path, chunk_size, holes=holes)
        await download._start(lambda: download._open(offset, length, bool(remove)))
        return download

    # --- in a thread ------------------------------------------------------------------------------

    def _open(self, offset: int, length: int | None, remove: bool) -> int:
        if remove:
            self._sandbox.check_target(self._path)
        self._file = self._sandbox.open_read(self._path)
        found = os.fstat(self._file)
        if offset > found.st_size:
            raise ValueError(f"offset {offset} is beyond the end of {self._path!r}, which has {found.st_size} bytes")
        self.file = {"size": found.st_size, "mtime": found.st_mtime, "version": version_of(found)}
        rest = found.st_size - offset
        size = rest if length is None else min(length, rest)
        self._at = offset
        self._end = offset + size
        self._reports_holes = self._reports_holes and missing(found) >= HOLE_LEAST
        if not self._reports_holes:
            check_holes(found, size, self._path)
        if remove and size == rest:
            with self._parent() as (folder, name):
                self._remove_as = _inode(folder, name)
        return size

    @contextmanager
    def _parent(self) -> Iterator[tuple[int, str]]:
        folder, name = self._sandbox.open_parent(self._path, create=False)
        try:
            yield folder, name
        finally:
            os.close(folder)

    def _skip_hole(self, most: int) -> int:
        hole = hole_at(self._file, self._at, self._end) if self._reports_holes else 0
        self._at += hole
        return hole

    def _data(self, most: int) -> int:
        return data_at(self._file, self._at, self._at + most) if self._reports_holes else most

    def _read(self, size: int) -> bytes:
        data = os.pread(self._file, size, self._at)
        self._at += len(data)
        return data

    def _after_last_chunk(self) -> None:
        if self._remove_as is None:
            return
        try:
            with self._parent() as (folder, name):
                if _inode(folder, name) == self._remove_as:
                    os.unlink(name, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return  # the job has removed or replaced it

    def _clean_up(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _inode(folder: int, name: str) -> tuple[int, int]:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return found.st_dev, found.st_ino
