"""RPC methods on the files of a sandbox (docs/contract.rst, "Files", "Transfers")."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Final, Protocol

from pagent.errors import FileDigestError, FileOffsetError, JobNotFoundError
from pagent.files.archive import ArchiveDownload, ArchiveUpload
from pagent.files.arguments import checked_folder, checked_mode, checked_mtime, checked_names, checked_path
from pagent.files.condition import Condition
from pagent.files.download import Download
from pagent.files.entries import Skipped
from pagent.files.listing import file_list, file_stat
from pagent.files.newfile import FileAttributes
from pagent.files.removal import file_remove
from pagent.files.selection import ArchiveSelection
from pagent.files.upload import Upload
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from pagent.limits import CHUNK_MAX
from pagent.rpc.aio import AsyncStream
from pagent.rpc.calls import IncomingCall
from pagent.rpc.methods import istream, ostream, unary
from pagent.rpc.spool import SpoolOpener
from pagent.runtime.rounds import Rounds
from pagent.service.disk import DiskThreads
from pagent.service.intake import Intake
from pagent.service.jobs import owner_of

#: Chunks that all downloads together pass to their links in one loop iteration. One of the smallest takes some 10 us.
CHUNKS_AT_ONCE: Final = 128


_log = logging.getLogger(__name__)


class _Source(Protocol):
    size: int

    def __aiter__(self) -> AsyncIterator[memoryview | int]: ...


class FileService:
    """Transfers between a peer and a sandbox. The disk work of each job is done by its own share of ``threads``."""

    def __init__(self, manager: JobManager, threads: DiskThreads, *, spool_max: int) -> None:
        self._manager = manager
        self._threads = threads
        self._spool_max = spool_max
        self._rounds = Rounds()

    def _job(self, call: IncomingCall, job_uid: object) -> Job:
        return self._manager.get(job_uid, owner_of(call.connection))

    @ostream
    async def file_upload(
        self,
        call: IncomingCall,
        job_uid: str,
        filename: str,
        executable: bool = False,
        offset: int = 0,
        sha256: str | None = None,
        partial: bool = False,
        match: list[str] | None = None,
        absent: bool = False,
        report: bool = False,
        mode: int | None = None,
        mtime: float | None = None,
    ) -> Any:
        job = self._job(call, job_uid)
        attributes = FileAttributes(checked_mode(mode), checked_mtime(mtime))
        condition = Condition(match, absent)
        upload: Upload | None = None

        def spool_failed() -> None:
            if upload is not None:
                upload.discard_partial()

        self._spool(call, job, spool_failed)
        with _until_removed(job, call), _as_value_errors(not report):
            upload = await Upload.open(
                self._threads.of(job),
                job.sandbox,
                filename,
                executable=executable,
                offset=offset,
                sha256=sha256,
                partial=partial,
                condition=condition,
                attributes=attributes,
            )
            async with upload:
                await Intake(call, upload).finished()
                size = await upload.commit()
                return {"size": size, "version": upload.version, "created": upload.created} if report else size

    @istream
    async def file_download(
        self,
        call: IncomingCall,
        job_uid: str,
        filename: str,
        chunk_size: int = 65536,
        remove: bool = False,
        offset: int = 0,
        length: int | None = None,
        holes: bool | None = None,
        describe: bool = False,
    ) -> int:
        job = self._job(call, job_uid)
        download = await Download.open(
            self._threads.of(job),
            job.sandbox,
            filename,
            chunk_size=_bounded(chunk_size),
            offset=offset,
            length=length,
            remove=remove,
            holes=call.connection.holes if holes is None else holes,
        )
        async with download:
            return await _send(call, download, self._rounds, **({"file": download.file} if describe else {}))

    @ostream
    async def archive_upload(self, call: IncomingCall, job_uid: str, report: bool = False, path: str = "") -> Any:
        job = self._job(call, job_uid)
        within = checked_folder(path)
        self._spool(call, job)
        assert call.stream is not None
        with _until_removed(job, call):
            async with ArchiveUpload(self._threads.of(job), job.sandbox, within) as upload:
                async for data in AsyncStream(call.stream):
                    if not isinstance(data, (bytes, bytearray, memoryview)):
                        raise ValueError(f"file contents come as bytes, not as {type(data).__name__}")
                    await upload.write(data)
                size = await upload.finish()
                return self._result(job, size, upload.skipped, report)

    @istream
    async def archive_download(
        self,
        call: IncomingCall,
        job_uid: str,
        include_mask: str | None = None,
        exclude_mask: str | None = None,
        compress: bool = False,
        chunk_size: int = 65536,
        report: bool = False,
        holes: bool | None = None,
        path: str = "",
        names: list[str] | None = None,
    ) -> Any:
        job = self._job(call, job_uid)
        selection = ArchiveSelection(checked_path(path), checked_names(names))
        download = await ArchiveDownload.open(
            self._threads.of(job),
            job.sandbox,
            include_mask,
            exclude_mask,
            compress,
            _bounded(chunk_size),
            sparse=call.connection.holes if holes is None else holes,
            selection=selection,
        )
        async with download:
            sent = await _send(call, download, self._rounds)
            return self._result(job, sent, download.skipped, report)

    @unary
    async def file_stat(self, call: IncomingCall, job_uid: str, path: str, sha256: bool = False) -> Any:
        job = self._job(call, job_uid)
        return await file_stat(self._threads.of(job), job.sandbox, path, sha256=sha256)

    @unary
    async def file_list(
        self,
        call: IncomingCall,
        job_uid: str,
        path: str = "",
        recursive: bool = False,
        after: str | None = None,
        limit: int | None = None,
    ) -> Any:
        job = self._job(call, job_uid)
        return await file_list(self._threads.of(job), job.sandbox, path, recursive=recursive, after=after, limit=limit)

    @unary
    async def file_remove(
        self, call: IncomingCall, job_uid: str, path: str, match: list[str] | None = None, recursive: bool = False
    ) -> Any:
        job = self._job(call, job_uid)
        threads, condition = self._threads.of(job), Condition(match)
        return await file_remove(threads, job.sandbox, path, condition=condition, recursive=recursive)

    @staticmethod
    def _result(job: Job, size: int, skipped: Skipped, report: bool) -> Any:
        """Return the size of an archive; with ``report`` also its missing entries, which are logged otherwise."""
        if report:
            return {"size": size, **skipped.as_dict()}
        if skipped.count:
            _log.warning("archive of job %s: %s", job.uid, skipped)
        return size

    def _spool(self, call: IncomingCall, job: Job, failed: Callable[[], None] = lambda: None) -> None:
        """Let the stream spool data that the disk takes too slowly. ``failed``: called if it has no room for that."""
        assert call.stream is not None
        threads = self._threads.of(job)
        call.stream.spool_with(SpoolOpener(job.sandbox.open_spool, self._spool_max, threads, failed, for_disk=True))


@contextmanager
def _as_value_errors(on: bool) -> Iterator[None]:
    """Raise ValueError, which part 2 of the contract began with, in the place of errors that were named later."""
    try:
        yield
    except (FileDigestError, FileOffsetError) as error:
        raise (ValueError(str(error)) if on else error) from None


def _until_removed(job: Job, call: IncomingCall) -> AbstractContextManager[None]:
    """Abort the call of an upload when its job is removed, however long its caller pauses."""
    return job.until_removed(partial(call.abort, JobNotFoundError(job.uid)))


def _bounded(chunk_size: Any) -> Any:
    """Return the size bounded by CHUNK_MAX. A value of another type is refused where it is used."""
    return min(chunk_size, CHUNK_MAX) if type(chunk_size) is int else chunk_size


async def _send(call: IncomingCall, source: _Source, rounds: Rounds, **more: Any) -> int:
    """Send the size, and ``more`` with it, then the chunks."""
    assert call.stream is not None
    stream = AsyncStream(call.stream)
    await stream.send({"size": source.size, **more})
    sent = batch = 0
    async for chunk in source:
        if batch == 0:
            await rounds.next()  # chunks may be of one byte, and a peer may ask for many files at once
            batch = CHUNKS_AT_ONCE
        batch -= 1
        await stream.send(chunk)
        sent += chunk if isinstance(chunk, int) else len(chunk)
    return sent
