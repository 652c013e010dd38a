"""Receive one file into a sandbox.

An upload appears whole or not at all. A part may be kept, and a later upload may continue it. The disk work is done in
threads (`disk_work`), in pieces of 256 KiB and more; the event loop waits for none of it.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from pagent import limits
from pagent.buffers import Bytes
from pagent.errors import FileDigestError
from pagent.files.arguments import checked_count, checked_sha256
from pagent.files.condition import Condition
from pagent.files.disk_work import DISK_BLOCK, DISK_PIECE, DISK_TURN, DiskWork
from pagent.files.newfile import FileAttributes, NewFile
from pagent.files.sandbox_access import SandboxAccess
from pagent.files.unwritten import UnwrittenData
from pagent.runtime.threads import Threads

#: Bytes that an upload gathers at most before it writes. It gathers a quarter of its written bytes, so that a hundred
#: small uploads hold less than a hundred large ones.
DISK_BLOCK_MOST: Final = limits.UPLOAD_PENDING_MAX // 2

_NO_CONDITION: Final = Condition()
_NO_ATTRIBUTES: Final = FileAttributes()


class Upload:
    """A file on its way in. ``async with`` aborts it unless it is committed::

    async with await Upload.open(threads, sandbox, "a/b") as upload:
        await upload.write(data)
        count = await upload.commit()

    A caller that cannot wait uses :meth:`put` while ``pending`` is small; ``on_progress`` is called as that changes.
    """

    def __init__(
        self,
        threads: Threads,
        sandbox: SandboxAccess,
        path: str,
        *,
        offset: int,
        sha256: str | None,
        partial: bool,
        condition: Condition,
        attributes: FileAttributes,
    ) -> None:
        # For life.
        self._work = DiskWork(threads, self._clean_up)
        self._sandbox = sandbox
        self._path = path
        self._offset = offset
        self._sha256 = sha256
        self._condition = condition
        self._attributes = attributes
        self._digest = hashlib.sha256() if sha256 is not None else None
        #: The version of the file once it has appeared, and whether there was none of its name before.
        self.version = ""
        self.created = False
        #: Called when something was written, or could not be.
        self.on_progress: Callable[[], None] | None = None
        # While it is written.
        self._unwritten = UnwrittenData(reads_holes=sha256 is not None)
        self._count = 0
        self._holes = 0  # bytes of them
        self._writing: asyncio.Future[None] | None = None  # stays once it has failed
        self._aborted = False
        self._keep = partial
        self._new: NewFile | None = None  # used in threads only

    @classmethod
    async def open(
        cls,
        threads: Threads,
        sandbox: SandboxAccess,
        path: str,
        *,
        executable: bool = False,
        offset: int = 0,
        sha256: str | None = None,
        partial: bool = False,
        condition: Condition = _NO_CONDITION,
        attributes: FileAttributes = _NO_ATTRIBUTES,
    ) -> Self:
        """Start an upload to ``path`` and make missing folders. Mode 0644, executable 0755, less the umask.

        ``partial``: the part that was written is kept if the upload is aborted. ``offset``: continue such a part, which
        must have at least that many bytes, and is cut to them. ``sha256``: hex digest that the whole file must have.
        ``condition``: of the file that is replaced, checked now and when the upload is complete. ``attributes``: mode
        and time of the complete file. TypeError, ValueError, OSError, FileChangedError.
        """
        checked_count("offset", offset)
        digest = checked_sha256(sha256)
        upload = cls(
            threads,
            sandbox,
            path,
            offset=offset,
            sha256=digest,
            partial=bool(partial),
            condition=condition,
            attributes=attributes,
        )
        try:
            # Before its end a file whose mode was given can be read by its owner alone.
            mode = 0o755 if executable else 0o644
            await upload._work.run(upload._open, mode if attributes.mode is None else 0o600)
            if upload._digest is not None:
                await upload._hash_kept()
        except BaseException:
            await upload.abort()
            raise
        return upload

    @property
    def pending(self) -> int:
        """Bytes that wait for the disk."""
        return self._unwritten.pending

    @property
    def buffered(self) -> int:
        """Bytes in memory that wait for the disk."""
        return self._unwritten.buffered

    @property
    def error(self) -> BaseException | None:
        """The error of the disk that ended the upload, or None."""
        if self._writing is None or not self._writing.done() or self._writing.cancelled():
            return None
        return self._writing.exception()

    async def write(self, data: Bytes) -> None:
        """Take the next bytes of the file. OSError, for example of a full disk: nothing is left of the upload then."""
        self.put(data)
        while self._writing is not None and (self.pending >= limits.UPLOAD_PENDING_MAX or self._writing.done()):
            await self._settle()

    def put(self, data: Bytes) -> int:
        """Take the next bytes without a wait; return :attr:`pending`."""
        self._count += len(data)
        self._unwritten.add(data)
        if self._writing is None:
            self._start_writing()
        return self._unwritten.pending

    def put_hole(self, size: int) -> int:
        """Take a hole of ``size`` bytes; return :attr:`pending`. ValueError if no file can have it."""
        if size <= 0 or self._offset + self._count + size > limits.FILE_SIZE_MAX:
            raise ValueError(f"a hole of {size} bytes cannot be at {self._offset + self._count} of a file")
        self._holes += size
        if self._digest is not None and self._holes > limits.HOLES_READ_MAX:
            raise ValueError(f"no digest is made of more than {limits.HOLES_READ_MAX} bytes of holes")
        self._count += size
        self._unwritten.add_hole(size)
        if self._writing is None:
            self._start_writing()
        return self._unwritten.pending

    async def commit(self) -> int:
        """Let the file appear; return the bytes that this upload wrote.

        ValueError if the file does not have the digest that the peer gave.
        """
        while self._writing is not None:
            await self._settle()
        try:
            await self._work.run_last(self._commit)
        except BaseException:
            await self.abort()
            raise
        return self._count

    def discard_partial(self) -> None:
        """Keep no part: a shortage leaves nothing half-written (docs/contract.rst, "Shortage")."""
        self._keep = False

    async def abort(self) -> None:
        """Delete the upload, except for a part that was requested. Do nothing after a commit."""
        self._aborted = True
        await self._work.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    # --- writing ----------------------------------------------------------------------------------

    def _start_writing(self) -> None:
        """Write if enough is gathered. More is gathered during a write: under load the pieces are larger, and fewer."""
        if self.pending >= min(max(DISK_BLOCK, self._unwritten.written // 4), DISK_BLOCK_MOST):
            self._writing = self._work.start(self._write)
            self._writing.add_done_callback(self._write_ended)

    def _write_ended(self, writing: asyncio.Future[None]) -> None:
        if not writing.cancelled() and writing.exception() is None:
            self._continue_after(writing)
        if self.on_progress is not None:
            self.on_progress()

    def _continue_after(self, writing: asyncio.Future[None]) -> None:
        """Start the next write, once for each that ended: its callback or :meth:`_settle` comes first."""
        if self._writing is writing:
            self._writing = None
            if not self._aborted:
                self._start_writing()

    async def _settle(self) -> None:
        """Wait for the write under way, and raise its error."""
        writing = self._writing
        assert writing is not None
        try:
            await writing
        except BaseException:
            await self.abort()
            raise
        self._continue_after(writing)

    async def _hash_kept(self) -> None:
        at = 0
        while at < self._offset:
            at += await self._work.run(self._hash, at, min(DISK_TURN, self._offset - at))

    # --- in a thread ------------------------------------------------------------------------------

    def _open(self, mode: int) -> None:
        if isinstance(path := self._path, str) and path.endswith("/"):
            raise ValueError(f"file path names a folder: {path!r}")
        self._new = new = NewFile(self._sandbox, self._path, mode)
        try:
            new.check_target()
            if self._attributes.mode is not None:
                os.fchmod(new.file, mode)
            self._condition.check(self._sandbox, self._path)
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
        """Write the gathered data, at most the work of one step. The event loop may add more meanwhile."""
        left = DISK_TURN
        while left > 0 and self.pending >= DISK_PIECE:
            left -= self._write_next(left)

    def _write_next(self, most: int) -> int:
        """Write the next bytes or hole; return their cost."""
        assert self._new is not None
        if hole := self._unwritten.hole():
            return self._write_hole(hole, most)
        parts = self._unwritten.take(most)
        try:
            self._new.write(*parts)
        except OSError:
            self.discard_partial()
            raise
        if self._digest is not None:
            for part in parts:
                self._digest.update(part)
        size = sum(map(len, parts))
        self._unwritten.wrote(size)
        return size

    def _write_hole(self, hole: int, most: int) -> int:
        """Leave a hole, with a digest not all of it at once; return its cost."""
        assert self._new is not None
        step = hole if self._digest is None else min(hole, most, DISK_PIECE)
        self._new.skip(step)
        if self._digest is not None:
            self._digest.update(bytes(step))
        return self._unwritten.wrote_hole(step)

    def _commit(self) -> None:
        assert self._new is not None
        self._write_rest()
        self._keep = False  # whole as it is, so that there is nothing to continue if it cannot appear
        if self._digest is not None and self._digest.hexdigest() != self._sha256:
            raise FileDigestError(f"sha256 of {self._path!r} is {self._digest.hexdigest()}, not {self._sha256}")
        mode, mtime_ns = self._attributes
        self._new.commit(mode=mode, mtime_ns=mtime_ns, condition=self._condition)
        self.version, self.created = self._new.version, self._new.created

    def _write_rest(self) -> None:
        self._unwritten.flush()
        while self._unwritten:
            self._write_next(max(1, self.pending))

    def _clean_up(self) -> None:
        if self._new is None:
            return
        if self._keep and (self._count or self._offset):  # an empty part would only displace a better one
            self._keep_part(self._new)
        else:
            self._new.discard()

    def _keep_part(self, new: NewFile) -> None:
        try:
            self._write_rest()
        except OSError:
            new.discard()
        else:
            new.keep()
