"""One file into a sandbox.

Uploads appear whole or not at all. A part may be kept, and an upload go on from it. The disk work is done in pieces
of 256 KiB and more (`pieces`); nothing waits for it on the loop.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from pagent import limits
from pagent.files.holes import HOLE_COST
from pagent.files.newfile import NewFile
from pagent.files.pieces import DISK_BLOCK, DISK_PIECE, DISK_TURN, Pieces
from pagent.files.sandboxed import Sandbox
from pagent.limits import KIB
from pagent.runtime.threads import Threads

#: Pieces of an upload below this size are joined.
DISK_JOIN: Final = 16 * KIB
#: Bytes that an upload gathers at most before it writes. It gathers a quarter of what it has written, so that a hundred
#: small uploads hold less than a hundred large ones.
DISK_BLOCK_MOST: Final = limits.UPLOAD_PENDING_MAX // 2


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
        self._parts: deque[bytes | bytearray | memoryview | int] = deque()  # to be written; a number is of zeros
        self._holes = 0  # bytes of them
        self._given = 0  # bytes that are or were in `_parts`
        self._writing: asyncio.Future[None] | None = None  # stays once it has failed
        self._over = False
        #: Called when something was written, or could not be.
        self.moved: Callable[[], None] | None = None

        self._given_holes = 0  # what the holes among them count
        self._stored = 0  # of them, what has been written
        self._stored_holes = 0
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
    def buffered(self) -> int:
        """Bytes in memory that wait for the disk: holes count as work only."""
        return self.behind - (self._given_holes - self._stored_holes)

    @property
    def error(self) -> BaseException | None:
        """What the disk said that took no more."""
        if self._writing is None or not self._writing.done() or self._writing.cancelled():
            return None
        return self._writing.exception()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes of the file. OSError, for example of a full disk: nothing is left of the upload then."""
        self.give(data)
        while self._writing is not None and (self.behind >= limits.UPLOAD_PENDING_MAX or self._writing.done()):
            await self._settle()

    def give(self, data: bytes | bytearray | memoryview) -> int:
        """:meth:`write` without a wait; gives :attr:`behind`."""
        self._count += len(data)
        if len(data) < DISK_JOIN:
            self._joined += data
            if len(self._joined) < DISK_PIECE:
                return self.behind
            data, self._joined = self._joined, bytearray()
        elif self._joined:
            self._append(self._joined)
            self._joined = bytearray()
        self._append(data)
        self._keep_busy()
        return self.behind

    def give_hole(self, size: int) -> int:
        """So many zeros are next, which take no blocks; gives :attr:`behind`. ValueError: that is no file's size."""
        if size <= 0 or self._offset + self._count + size > limits.FILE_SIZE_MAX:
            raise ValueError(f"a hole of {size} bytes cannot be at {self._offset + self._count} of a file")
        self._holes += size
        if self._digest is not None and self._holes > limits.HOLES_READ_MAX:
            raise ValueError(f"no digest is made of more than {limits.HOLES_READ_MAX} bytes of holes")
        self._count += size
        if self._joined:
            self._append(self._joined)
            self._joined = bytearray()
        self._parts.append(size)
        cost = self._cost_of_hole(size)
        self._given += cost
        self._given_holes += cost
        self._keep_busy()
        return self.behind

    def _cost_of_hole(self, size: int) -> int:
        """What a hole counts as work: its zeros have to go into the digest, if there is one."""
        return HOLE_COST if self._digest is None else size

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        self._parts.append(data)
        self._given += len(data)

    def _keep_busy(self) -> None:
        """While some of it is written the next is gathered: under load the pieces are larger, and fewer."""
        if self._writing is not None:
            return
        if self.behind >= min(max(DISK_BLOCK, self._stored // 4), DISK_BLOCK_MOST):
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
        """The disk has failed: a shortage leaves nothing half-written (docs/contract.rst, "Shortage")."""
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
            at += await self._pieces.run(self._hash, at, min(DISK_TURN, self._offset - at))

    # --- in a thread ------------------------------------------------------------------------------

    def _open(self, mode: int) -> None:
        if isinstance(path := self._path, str) and path.endswith("/"):
            raise ValueError(f"file path names a folder: {path!r}")
        self._new = new = NewFile(self._sandbox, self._path, mode)
        try:
            new.check_target()
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
        left = DISK_TURN
        while left > 0 and self.behind >= DISK_PIECE:
            left -= self._write_parts(left)

    def _write_parts(self, most: int) -> int:
        assert self._new is not None
        parts: list[bytes | bytearray | memoryview] = []
        size = 0
        while self._parts and size < most:
            part = self._parts[0]
            if isinstance(part, int):
                if not parts:
                    size = self._skip(part, most)
                break
            self._parts.popleft()
            parts.append(part)
            size += len(part)
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

    def _skip(self, hole: int, most: int) -> int:
        """Leave a hole, which comes next; what it counts. With a digest not all of it at once."""
        assert self._new is not None
        step = hole if self._digest is None else min(hole, most, DISK_PIECE)
        self._new.skip(step)
        if self._digest is not None:
            self._digest.update(bytes(step))
        if step == hole:
            self._parts.popleft()
        else:
            self._parts[0] = hole - step
        cost = self._cost_of_hole(step)
        self._stored_holes += cost
        return cost

    def _commit(self) -> None:
        assert self._new is not None
        self._append(self._joined)
        self._write_rest()
        # Whole as it is: nothing of it is worth to be continued if it cannot appear.
        self._keep = False
        if self._digest is not None and self._sha256 is not None and self._digest.hexdigest() != self._sha256.lower():
            raise ValueError(f"sha256 of {self._path!r} is {self._digest.hexdigest()}, not {self._sha256.lower()}")
        self._new.commit()

    def _write_rest(self) -> None:
        while self._parts:
            self._write_parts(max(1, self.behind))

    def _clean_up(self) -> None:
        if self._new is None:
            return
        if self._keep and (self._count or self._offset):  # an empty part would only displace a better one
            self._keep_rest(self._new)
        else:
            self._new.discard()

    def _keep_rest(self, new: NewFile) -> None:
        try:
            self._append(self._joined)
            self._write_rest()
        except OSError:
            new.discard()
        else:
            new.keep()
