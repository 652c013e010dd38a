"""Transfer the sandbox of a job from and to a local tar file or folder."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from typing import Any

from pagent.buffers import BODY_CHUNK, Bytes
from pagent.client.calls import given
from pagent.client.files import FileMethods, receive_file, send_file, size_of
from pagent.client.local_files import Progress, StrPath, local_folder, no_progress
from pagent.client.partial_file import PartialFile
from pagent.client.payloads import all_payloads
from pagent.files.archive import ArchiveDownload, ArchiveUpload
from pagent.files.entries import Skipped
from pagent.files.selection import ArchiveSelection
from pagent.limits import MIB
from pagent.wire import messages

_log = logging.getLogger(__name__)


class ArchiveSize(int):
    """Bytes of an archive. ``skipped`` entries were left out; ``names`` has the first of them, with reasons."""

    skipped: int
    names: list[str]

    @classmethod
    def of(cls, result: Any, *others: Skipped) -> ArchiveSize:
        """Return the size, with the entries that the agent and this side have skipped. Log skipped entries."""
        report = result if isinstance(result, dict) else {"size": result, "skipped": 0, "names": []}
        size = cls(report["size"])
        size.skipped = report["skipped"] + sum(other.count for other in others)
        size.names = [*report["names"], *(name for other in others for name in other.names)]
        if size.skipped:
            _log.warning("%d entries of the archive were skipped: %s", size.skipped, "; ".join(size.names[:5]))
        return size


class ArchiveMethods(FileMethods):
    """Archives have files, folders and symbolic links with their modes and times. Other entries are skipped.

    Hard links become separate files. A symbolic link is unpacked if its target is in the folder. An entry that cannot
    be read or unpacked is skipped; the result has the number of skipped entries (:class:`ArchiveSize`).

    Masks are fnmatch patterns on the name relative to the sandbox, or to ``path``. ``*`` matches ``/``, too; the
    exclude mask takes precedence. ``names``: only these entries, folders without their content. Progress counts bytes
    of the archive. MethodError ValueError: the archive is malformed, has a path outside of the folder, or exceeds a
    limit.
    """

    async def upload_archive(self, source: StrPath, *, path: str = "", progress: Progress | None = None) -> ArchiveSize:
        """Unpack a local tar file (plain, gzip, bz2 or xz) into the sandbox, or its folder ``path``; return its size.

        The method is ``archive_upload``.
        """
        async with self._stream(messages.OSTREAM, "archive_upload", **self._report(), **given(path=path)) as call:
            return ArchiveSize.of(await send_file(call, source, progress))

    async def unpack(self, data: AsyncIterable[Bytes], *, path: str = "") -> ArchiveSize:
        """Unpack a tar file that is still being made; otherwise as :meth:`upload_archive`."""
        async with self._stream(messages.OSTREAM, "archive_upload", **self._report(), **given(path=path)) as call:
            async for piece in all_payloads(data):
                await call.send(piece)
            call.close()
            return ArchiveSize.of(await call.result())

    async def pack(self, *, path: str = "", exclude_mask: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the sandbox, or its folder ``path``, as a tar file (``archive_download``). Iterate to the end."""
        arguments = (None, exclude_mask, False, MIB)
        async with self._stream(messages.ISTREAM, "archive_download", *arguments, **_selected(path, None)) as call:
            await size_of(call)
            async for data in call:
                yield bytes(data)
            await call.result()

    def _report(self) -> dict[str, bool]:
        """Return the option for a result that lists skipped entries, if the agent has it."""
        return {"report": True} if self._link.holes else {}

    async def download_archive(
        self,
        target: StrPath,
        *,
        include_mask: str | None = None,
        exclude_mask: str | None = None,
        compress: bool = False,
        path: str = "",
        names: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> ArchiveSize:
        """Download the sandbox, or the folder ``path``, as a local tar file (``archive_download``); return its size.

        The target keeps its content until the download is complete.
        """
        arguments = (include_mask, exclude_mask, compress, MIB)
        options = self._report() | _selected(path, names)
        async with (
            PartialFile(target, resume=False) as part,
            self._stream(messages.ISTREAM, "archive_download", *arguments, **options) as call,
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
        path: str = "",
        names: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> ArchiveSize:
        """Pack a local folder and unpack it into the sandbox, or into its folder ``path``; return the archive's size.

        The method is ``archive_upload``.

        ``compress``: with gzip; the archive is first written to the disk of the folder. OSError: the folder cannot be
        read.
        """
        step = progress or no_progress
        async with local_folder(source) as (threads, folder):
            packing = await ArchiveDownload.open(
                threads,
                folder,
                include_mask,
                exclude_mask,
                compress,
                BODY_CHUNK,
                sparse=self._link.holes,
                selection=ArchiveSelection(names=names, within=path),
            )
            async with packing, self._stream(messages.OSTREAM, "archive_upload", **self._report()) as call:
                done = 0
                async for chunk in packing:
                    assert not isinstance(chunk, int), "an archive has no holes"
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
        path: str = "",
        names: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> ArchiveSize:
        """Download the sandbox, or its folder ``path``, into a local folder; return the archive's size.

        The method is ``archive_download``.

        The folder is created if it is missing. Entries are unpacked while they arrive; those before an error stay. Each
        file appears when it is complete. ValueError: an entry has a path outside of the folder. OSError.
        """
        step = progress or no_progress
        arguments = (include_mask, exclude_mask, compress, MIB)
        options = self._report() | _selected(path, names)
        async with (
            local_folder(target, create=True) as (threads, folder),
            self._stream(messages.ISTREAM, "archive_download", *arguments, **options) as call,
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


def _selected(path: str, names: Sequence[str] | None) -> dict[str, Any]:
    """Return the options that choose entries, which older agents do not have."""
    return given(path=path) | ({} if names is None else {"names": list(names)})
