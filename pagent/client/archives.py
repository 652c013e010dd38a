"""A job's whole sandbox: from and to a local tar, from and to a local folder."""

from __future__ import annotations

from pathlib import Path

from pagent.client.files import FileMethods, receive_file, send_file, size_of
from pagent.client.local import LocalPart, Progress, StrPath, ignore, local_folder
from pagent.files.archive import ArchiveDownload, ArchiveUpload
from pagent.limits import BODY_CHUNK, MIB
from pagent.wire import messages


class ArchiveMethods(FileMethods):
    """Archives carry regular files and folders with their modes and times; other entries are skipped.

    Masks are fnmatch patterns on the name relative to the sandbox, ``*`` crosses ``/``; exclude wins. Progress counts
    bytes of the archive. MethodError ValueError: an archive that is broken, leads outside or breaks a limit.
    """

    async def upload_archive(self, source: StrPath, *, progress: Progress | None = None) -> int:
        """``archive_upload`` of a local tar (plain, gzip, bz2, xz), unpacked into the sandbox; its size."""
        async with self._stream(messages.OSTREAM, "archive_upload") as call:
            return await send_file(call, Path(source), progress)

    async def download_archive(
        self,
        target: StrPath,
        *,
        include_mask: str | None = None,
        exclude_mask: str | None = None,
        compress: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """``archive_download`` of the sandbox to a local tar, which appears whole or not at all; its size."""
        arguments = (include_mask, exclude_mask, compress, MIB)
        async with (
            LocalPart(target, resume=False) as part,
            self._stream(messages.ISTREAM, "archive_download", *arguments) as call,
        ):
            size = await receive_file(call, part, progress)
            await part.commit()
            return size

    async def upload_folder(
        self,
        source: StrPath,
        *,
        include_mask: str | None = None,
        exclude_mask: str | None = None,
        compress: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """``archive_upload`` of what is in a local folder, packed while it is sent; the archive's size.

        ``compress``: by gzip, which is spooled to that folder's disk first. OSError: something cannot be read.
        """
        step = progress or ignore
        async with local_folder(source) as (threads, folder):
            packing = await ArchiveDownload.open(threads, folder, include_mask, exclude_mask, compress, BODY_CHUNK)
            async with packing, self._stream(messages.OSTREAM, "archive_upload") as call:
                done = 0
                async for chunk in packing:
                    await call.send(chunk)
                    done += len(chunk)
                    step(done, packing.size)
                call.close()
                size: int = await call.result()
                return size

    async def download_folder(
        self,
        target: StrPath,
        *,
        include_mask: str | None = None,
        exclude_mask: str | None = None,
        compress: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """``archive_download`` into a local folder, made if it is missing, unpacked while it comes; the archive's size.

        Each file appears whole or not at all; what was unpacked before an error stays. Nothing in the archive leads
        out of the folder, whatever the agent sends: ValueError. OSError.
        """
        step = progress or ignore
        arguments = (include_mask, exclude_mask, compress, MIB)
        async with (
            local_folder(target, create=True) as (threads, folder),
            self._stream(messages.ISTREAM, "archive_download", *arguments) as call,
            ArchiveUpload(threads, folder) as unpacking,
        ):
            total = await size_of(call)
            done = 0
            async for data in call:
                await unpacking.write(data)
                done += len(data)
                step(done, total)
            await call.result()
            return await unpacking.finish()
