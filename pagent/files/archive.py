"""Whole sandboxes as tar archives, unpacked while they arrive and packed while they are sent.

Received bytes are unpacked at once (`unpack`), and files are read when their bytes are sent (`pack`). Only a compressed
download is spooled to the sandbox's disk, in a file without a name, because its size has to be sent first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pagent.files.chunks import Chunks
from pagent.files.disk_work import DISK_PIECE, DiskWork
from pagent.files.pack import Compressor, Packer
from pagent.files.sandbox_access import SandboxAccess
from pagent.files.selection import ALL, ArchiveSelection
from pagent.files.unpack import Unpacker
from pagent.runtime.threads import Threads


class ArchiveUpload:
    """An archive on its way in: plain, gzip, bzip2 or xz. ``async with`` aborts it unless it is finished::

    async with ArchiveUpload(threads, sandbox) as upload:
        await upload.write(data)
        size = await upload.finish()
    """

    def __init__(self, threads: Threads, sandbox: SandboxAccess, within: str = "") -> None:
        self._unpacker = Unpacker(sandbox, within)
        self._work = DiskWork(threads, self._unpacker.close)
        self._gathered = bytearray()
        self._count = 0
        #: Entries that were not unpacked.
        self.skipped = self._unpacker.skipped

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes. ValueError if the archive is broken, leads outside or breaks a limit; OSError."""
        self._count += len(data)
        self._gathered += data
        if len(self._gathered) >= DISK_PIECE:
            await self._unpack(self._unpacker.push)

    async def finish(self) -> int:
        """Unpack the rest; return the size of the archive. ValueError if it is truncated."""
        await self._unpack(self._push_last)
        await self.abort()
        return self._count

    async def abort(self) -> None:
        """Delete a half-written file; files unpacked before stay. Does nothing after the end."""
        await self._work.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    async def _unpack(self, push: Callable[[bytes], None]) -> None:
        data = bytes(self._gathered)
        self._gathered.clear()
        try:
            more = await self._work.run(self._push, push, data)
            while more:
                more = await self._work.run(self._unpacker.turn)
        except BaseException:  # when cancelled, too: no data may follow a gap
            await self.abort()
            raise

    # --- in a thread ------------------------------------------------------------------------------

    def _push(self, push: Callable[[bytes], None], data: bytes) -> bool:
        push(data)
        return self._unpacker.turn()

    def _push_last(self, data: bytes) -> None:
        self._unpacker.push(data)
        self._unpacker.end()


class ArchiveDownload(Chunks):
    """A sandbox on its way out: ``size`` bytes in chunks (`chunks`)."""

    def __init__(self, threads: Threads, sandbox: SandboxAccess, packer: Packer, chunk_size: int) -> None:
        super().__init__(threads, "archive", chunk_size)
        self._sandbox = sandbox
        self._packer = packer
        #: Entries that could not be read; complete after the last chunk.
        self.skipped = packer.skipped
        self._spool = -1
        self._compressor: Compressor | None = None

    @classmethod
    async def open(
        cls,
        threads: Threads,
        sandbox: SandboxAccess,
        include_mask: str | None = None,
        exclude_mask: str | None = None,
        compress: bool = False,
        chunk_size: int = 65536,
        *,
        sparse: bool = False,
        selection: ArchiveSelection = ALL,
    ) -> Self:
        """Start to send the files, folders and symbolic links whose names match, as a tar, by gzip with ``compress``.

        ``sparse``: all sparse files are packed as such, which not every program that reads a tar knows.

        ``selection``: the folder or the entries to pack, otherwise the sandbox.

        Masks are fnmatch patterns on the name relative to that folder. ``*`` also matches ``/``. An exclude mask wins.
        A folder is packed only if it matches itself. TypeError, ValueError, OSError.
        """
        packer = Packer(sandbox, include_mask, exclude_mask, sparse=sparse, selection=selection)
        download = cls(threads, sandbox, packer, chunk_size)
        await download._prepare(bool(compress))
        return download

    async def _prepare(self, compress: bool) -> None:
        try:
            while await self._work.run(self._packer.note):
                pass
            if compress:
                while await self._work.run(self._compress):
                    pass
        except BaseException:
            await self.close()
            raise
        await self._start(lambda: self._packer.size if self._compressor is None else self._compressor.size)

    # --- in a thread ------------------------------------------------------------------------------

    def _compress(self) -> bool:
        if self._compressor is None:
            self._spool = self._sandbox.open_spool()
            self._compressor = Compressor(self._packer, self._spool)
        if self._compressor.turn():
            return True
        os.lseek(self._spool, 0, os.SEEK_SET)
        return False

    def _read(self, size: int) -> bytes:
        return self._packer.read(size) if self._compressor is None else os.read(self._spool, size)

    def _after_last_chunk(self) -> None:
        """Nothing: an archive removes no files."""

    def _clean_up(self) -> None:
        self._packer.close()
        if self._spool >= 0:
            os.close(self._spool)
            self._spool = -1
