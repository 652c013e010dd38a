"""A job's whole sandbox: from and to a local tar, from and to a local folder."""

from __future__ import annotations

import logging
from typing import Any

from pagent.buffers import BODY_CHUNK
from pagent.client.files import FileMethods, receive_file, send_file, size_of
from pagent.client.local import Progress, StrPath, ignore, local_folder
from pagent.client.part import LocalPart
from pagent.files.archive import ArchiveDownload, ArchiveUpload
from pagent.files.entries import Skipped
from pagent.limits import MIB
from pagent.wire import messages

_log = logging.getLogger(__name__)


class ArchiveSize(int):
    """Bytes of an archive. ``skipped`` entries were left out or not unpacked; ``names``: the first, with reasons."""

    skipped: int
    names: list[str]

    @classmethod
    def of(cls, result: Any, *others: Skipped) -> ArchiveSize:
        """The size that an agent told, with what it and this side have left out; a log line if that is anything."""
        told = result if isinstance(result, dict) else {"size": result, "skipped": 0, "names": []}
        size = cls(told["size"])
        size.skipped = told["skipped"] + sum(other.count for other in others)
        size.names = [*told["names"], *(name for other in others for name in other.names)]
        if size.skipped:
            _log.warning("%d entries of the archive were skipped: %s", size.skipped, "; ".join(size.names[:5]))
        return size


class ArchiveMethods(FileMethods):
    """Archives carry files, folders and symbolic links with their modes and times; others are skipped.

    Hard links become files of their own. A symbolic link is unpacked if it stays in the folder. What cannot be read or
    unpacked does not fail the rest: the result says how many there were (:class:`ArchiveSize`).

    Masks are fnmatch patterns on the name relative to the sandbox, ``*`` crosses ``/``; exclude wins. Progress counts
    bytes of the archive. MethodError ValueError: an archive that is broken, leads outside or breaks a limit.
    """

    async def upload_archive(self, source: StrPath, *, progress: Progress | None = None) -> ArchiveSize:
        """``archive_upload`` of a local tar (plain, gzip, bz2, xz), unpacked into the sandbox; its size."""
        async with self._stream(messages.OSTREAM, "archive_upload", **self._report()) as call:
            return ArchiveSize.of(await send_file(call, source, progress))

    def _report(self) -> dict[str, bool]:
        """Options for a result that names what was skipped, where the agent knows them."""
        return {"report": True} if self._link.holes else {}

    async def download_archive(
        self,
        target: StrPath,
        *,
        include_mask: str | None = None,
        exclude_mask: str | None = None,
        compress: bool = False,
        progress: Progress | None = None,
    ) -> ArchiveSize:
        """``archive_download`` of the sandbox to a local tar, which appears whole or not at all; its size."""
        arguments = (include_mask, exclude_mask, compress, MIB)
        async with (
            LocalPart(target, resume=False) as part,
            self._stream(messages.ISTREAM, "archive_download", *arguments, **self._report()) as call,
        ):
            result = await receive_file(call, part, progress)
            await part.commit()
            return ArchiveSize.of(result)

    async def upload_folder(
        self,
        source: StrPath,
        *,
        include_mask: str | None = None,
        exclude_mask: str | None = None,
        compress: bool = False,
        progress: Progress | None = None,
    ) -> ArchiveSize:
        """``archive_upload`` of what is in a local folder, packed while it is sent; the archive's size.

        ``compress``: by gzip, which is spooled to that folder's disk first. OSError: the folder cannot be read.
        """
        step = progress or ignore
        async with local_folder(source) as (threads, folder):
            packing = await ArchiveDownload.open(
                threads, folder, include_mask, exclude_mask, compress, BODY_CHUNK, sparse=self._link.holes
            )
            async with packing, self._stream(messages.OSTREAM, "archive_upload", **self._report()) as call:
                done = 0
                async for chunk in packing:
                    assert not isinstance(chunk, int), "an archive has no holes of its own"
                    await call.send(chunk)
                    done += len(chunk)
                    step(done, packing.size)
                call.close()
                return ArchiveSize.of(await call.result(), packing.skipped)

    async def download_folder(
        self,
        target: StrPath,
        *,
        include_mask: str | None = None,
        exclude_mask: str | None = None,
        compress: bool = False,
        progress: Progress | None = None,
    ) -> ArchiveSize:
        """``archive_download`` into a local folder, made if it is missing, unpacked while it comes; the archive's size.

        Each file appears whole or not at all; what was unpacked before an error stays. Nothing in the archive leads
        out of the folder, whatever the agent sends: ValueError. OSError.
        """
        step = progress or ignore
        arguments = (include_mask, exclude_mask, compress, MIB)
        async with (
            local_folder(target, create=True) as (threads, folder),
            self._stream(messages.ISTREAM, "archive_download", *arguments, **self._report()) as call,
            ArchiveUpload(threads, folder) as unpacking,
        ):
            total = await size_of(call)
            done = 0
            async for data in call:
                await unpacking.write(data)
                done += len(data)
                step(done, total)
            result = await call.result()
            await unpacking.finish()
            return ArchiveSize.of(result, unpacking.skipped)
