"""One file into a sandbox, one file out of it.

Uploads appear whole or not at all. A part may be kept, and an upload go on from it. Both sides do their disk work
in pieces of 256 KiB and more (`pieces`); neither ever waits on the loop.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from pagent import limits
from pagent.files.chunks import Chunks
from pagent.files.newfile import NewFile
from pagent.files.pieces import Pieces
from pagent.files.sandboxed import Sandbox
from pagent.runtime.threads import Threads

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}\Z")


def checked_count(name: str, value: object) -> int:
    """An int of 0 or more; TypeError (a bool and a float too), ValueError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} must not be negative: {value}")
    return value


class Upload:
    """A file on its way in. ``async with`` aborts what is not committed::

    async with await Upload.open(threads, sandbox, "a/b") as upload:
        await upload.write(data)
        count = await upload.commit()

    Whoever cannot wait calls :meth:`give` as long as ``behind`` is small, and is told of progress by ``moved``.
    """

    def __init__(
        self, threads: Threads, sandbox: Sandbox, path: str, *, offset: int, sha256: str | None, partial: bool
    ) -> None:
        self._pieces = Pieces(threads, self._clean_up)
        self._sandbox = sandbox
        self._path = path
        self._offset = offset
        self._sha256 = sha256
        self._digest = hashlib.sha256() if sha256 is not None else None
        self._keep = partial

        self._count = 0
        self._joined = bytearray()  # small pieces, which are dear to keep one by one
        self._parts: deque[bytes | bytearray | memoryview] = deque()  # to be written
        self._given = 0  # bytes that are or were in `_parts`
        self._writing: asyncio.Future[None] | None = None  # stays once it has failed
        self._over = False
        #: Called when something was written, or could not be.
        self.moved: Callable[[], None] | None = None

        self._stored = 0  # of them, what has been written
        self._new: NewFile | None = None  # touched by pieces only

    @classmethod
    async def open(
        cls,
        threads: Threads,
        sandbox: Sandbox,
        path: str,
        *,
        executable: bool = False,
        offset: int = 0,
        sha256: str | None = None,
        partial: bool = False,
    ) -> Self:
        """Start an upload to ``path``; missing folders are made. Mode 0644, executable 0755, less the umask.

        ``partial``: what has come is kept if the upload is aborted. ``offset``: go on from such a part, which must have
        at least that many bytes, and is cut to them. ``sha256``: hex digest that the whole file must have.
        TypeError, ValueError, OSError.
        """
        checked_count("offset", offset)
        if sha256 is not None and not isinstance(sha256, str):
            raise TypeError(f"sha256 must be a str, not {type(sha256).__name__}")
        if sha256 is not None and not _SHA256.match(sha256):
            raise ValueError("sha256 must be 64 hexadecimal digits")
        upload = cls(threads, sandbox, path, offset=offset, sha256=sha256, partial=bool(partial))
        try:
            await upload._pieces.run(upload._open, 0o755 if executable else 0o644)
            if upload._digest is not None:
                await upload._hash_kept()
        except BaseException:
            await upload.abort()
            raise
        return upload

    @property
    def behind(self) -> int:
        """Bytes that wait for the disk."""
        return self._given - self._stored

    @property
    def error(self) -> BaseException | None:
        """What the disk said that took no more."""
        if self._writing is None or not self._writing.done() or self._writing.cancelled():
            return None
        return self._writing.exception()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes of the file. OSError, for example of a full disk: nothing is left of the upload then."""
        self.give(data)
        while self._writing is not None and (self.behind >= limits.DISK_BEHIND or self._writing.done()):
            await self._settle()

    def give(self, data: bytes | bytearray | memoryview) -> int:
        """:meth:`write` without a wait; gives :attr:`behind`."""
        self._count += len(data)
        if len(data) < limits.DISK_JOIN:
            self._joined += data
            if len(self._joined) < limits.DISK_PIECE:
                return self.behind
            data, self._joined = self._joined, bytearray()
        elif self._joined:
            self._append(self._joined)
            self._joined = bytearray()
        self._append(data)
        self._keep_busy()
        return self.behind

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        self._parts.append(data)
        self._given += len(data)

    def _keep_busy(self) -> None:
        """While some of it is written the next is gathered: under load the pieces are larger, and fewer."""
        if self._writing is not None:
            return
        if self.behind >= min(max(limits.DISK_BLOCK, self._stored // 4), limits.DISK_BLOCK_MOST):
            self._writing = self._pieces.begin(self._write)
            self._writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Future[None]) -> None:
        if not writing.cancelled() and writing.exception() is None:
            self._go_on(writing)
        if self.moved is not None:
            self.moved()

    def _go_on(self, written: asyncio.Future[None]) -> None:
        """Once for each piece that was written, by whoever sees it first."""
        if self._writing is written:
            self._writing = None
            if not self._over:
                self._keep_busy()

    async def commit(self) -> int:
        """Let the file appear; number of bytes that this upload wrote. ValueError: not the promised digest."""
        while self._writing is not None:
            await self._settle()
        try:
            await self._pieces.run_last(self._commit)
        except BaseException:
            await self.abort()
            raise
        return self._count

    def keep_nothing(self) -> None:
        """The disk has failed: a shortage leaves nothing half-written (spec agent.md, "Shortage")."""
        self._keep = False

    async def abort(self) -> None:
        """Give up: nothing is left, but the part that is to be kept. Nothing after a commit."""
        self._over = True
        await self._pieces.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    async def _settle(self) -> None:
        """Wait for what is being written, and raise what it raised."""
        writing = self._writing
        assert writing is not None
        try:
            await writing
        except BaseException:
            await self.abort()
            raise
        self._go_on(writing)

    async def _hash_kept(self) -> None:
        at = 0
        while at < self._offset:
            at += await self._pieces.run(self._hash, at, min(limits.DISK_TURN, self._offset - at))

    # --- in a thread ------------------------------------------------------------------------------

    def _open(self, mode: int) -> None:
        if isinstance(path := self._path, str) and path.endswith("/"):
            raise ValueError(f"file path names a folder: {path!r}")
        self._new = new = NewFile(self._sandbox, self._path, mode)
        try:
            new.check_target(partial=self._keep)
            if self._offset:
                new.continue_from(self._offset, mode)
        except BaseException:
            new.discard()
            self._new = None
            raise

    def _hash(self, at: int, size: int) -> int:
        assert self._new is not None
        assert self._digest is not None
        data = os.pread(self._new.file, size, at)
        if not data:
            raise OSError(errno.EIO, "the kept part became shorter", self._path)
        self._digest.update(data)
        return len(data)

    def _write(self) -> None:
        """Of what has been given as much as one turn is; the loop may be giving more."""
        left = limits.DISK_TURN
        while left > 0 and self.behind >= limits.DISK_PIECE:
            left -= self._write_parts(left)

    def _write_parts(self, most: int) -> int:
        assert self._new is not None
        parts = []
        size = 0
        while self._parts and size < most:
            parts.append(self._parts.popleft())
            size += len(parts[-1])
        try:
            self._new.write(*parts)
        except OSError:
            self.keep_nothing()
            raise
        if self._digest is not None:
            for part in parts:
                self._digest.update(part)
        self._stored += size
        return size

    def _commit(self) -> None:
        assert self._new is not None
        self._append(self._joined)
        self._write_parts(self.behind)
        # Whole as it is: nothing of it is worth to be continued if it cannot appear.
        self._keep = False
        if self._digest is not None and self._sha256 is not None and self._digest.hexdigest() != self._sha256.lower():
            raise ValueError(f"sha256 of {self._path!r} is {self._digest.hexdigest()}, not {self._sha256.lower()}")
        self._new.commit()

    def _clean_up(self) -> None:
        if self._new is None:
            return
        if self._keep and (self._count or self._offset):  # an empty part would only displace a better one
            self._new.keep(*self._parts, self._joined)
        else:
            self._new.discard()


class Download(Chunks):
    """A file on its way out: ``.size`` is what will come, then iterate over the chunks (`chunks`)."""

    def __init__(self, threads: Threads, sandbox: Sandbox, path: str, chunk_size: int) -> None:
        super().__init__(threads, path, chunk_size)
        self._sandbox = sandbox
        self._path = path

        self._file = -1  # touched by pieces only, as all below
        self._at = 0
        self._remove_as: tuple[int, int] | None = None

    @classmethod
    async def open(
        cls,
        threads: Threads,
        sandbox: Sandbox,
        path: str,
        *,
        chunk_size: int = 65536,
        offset: int = 0,
        length: int | None = None,
        remove: bool = False,
    ) -> Self:
        """Start to send ``path`` from ``offset`` on, ``length`` bytes at most.

        What is appended meanwhile is not sent; OSError if the file becomes shorter. ``remove`` deletes it once all is
        handed out, up to its end, if it is still the same file. TypeError, ValueError, OSError.
        """
        checked_count("offset", offset)
        if length is not None:
            checked_count("length", length)
        download = cls(threads, sandbox, path, chunk_size)
        await download._start(lambda: download._open(offset, length, bool(remove)))
        return download

    # --- in a thread ------------------------------------------------------------------------------

    def _open(self, offset: int, length: int | None, remove: bool) -> int:
        self._file = self._sandbox.open_read(self._path)
        found = os.fstat(self._file)
        if offset > found.st_size:
            raise ValueError(f"offset {offset} is beyond the end of {self._path!r}, which has {found.st_size} bytes")
        rest = found.st_size - offset
        size = rest if length is None else min(length, rest)
        self._at = offset
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

    def _read(self, size: int) -> bytes:
        data = os.pread(self._file, size, self._at)
        self._at += len(data)
        return data

    def _handed_out(self) -> None:
        if self._remove_as is None:
            return
        try:
            with self._parent() as (folder, name):
                if _inode(folder, name) == self._remove_as:
                    os.unlink(name, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return  # the job was quicker

    def _clean_up(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _inode(folder: int, name: str) -> tuple[int, int]:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return found.st_dev, found.st_ino
