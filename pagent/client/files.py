"""Transfer files of a job's sandbox from and to memory and local paths."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any, Final

from pagent.buffers import Bytes
from pagent.client.calls import JobCalls, given
from pagent.client.local_files import Progress, StrPath, no_progress, reading
from pagent.client.partial_file import PartialFile
from pagent.client.payloads import all_payloads, payloads_of
from pagent.errors import MethodError
from pagent.limits import MIB
from pagent.names import partial_of
from pagent.rpc.aio import StreamCall
from pagent.wire import messages

#: Entries that one call of a listing asks for. An agent returns fewer if their names are too long.
_PAGE: Final = 10_000


class FileMethods(JobCalls):
    """Paths are relative to the sandbox, with ``/``. A name that is not UTF-8 is written as a listing returns it.

    MethodErrors are FileNotFoundError, other OSErrors, and ValueError for a path outside of the sandbox or an invalid
    argument.
    """

    # --- local files ------------------------------------------------------------------------------

    async def upload(
        self,
        source: StrPath,
        path: str,
        *,
        executable: bool = False,
        offset: int = 0,
        sha256: str | None = None,
        partial: bool = False,
        resume: bool = False,
        mode: int | None = None,
        mtime: float | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Upload the local file ``source`` (``file_upload``), and return the number of bytes sent.

        ``path`` appears when the upload is complete.

        :param partial: keep the received bytes if the upload is interrupted.
        :param offset: continue such an upload from here.
        :param sha256: hex digest of the whole file. If it differs, the upload fails.
        :param resume: continue an interrupted upload, and choose the three parameters above. The digest of the part
            that the agent has decides from where; without such a part the file is read once.
        :param mode: permission bits of the complete file.
        :param mtime: its time, in seconds since the epoch.
        :param progress: counts bytes of the whole file.
        :raises OSError: ``source`` cannot be read.
        :raises ValueError: ``resume`` together with ``offset``, ``sha256`` or ``partial``.
        """
        if resume:
            if offset or sha256 is not None or partial:
                raise ValueError("resume cannot be combined with offset, sha256 and partial")
            partial = True
            offset, sha256 = await self._resumption(source, path)
        options = given(offset=offset, sha256=sha256, partial=partial) | _attributes(mode, mtime)
        async with self._stream(messages.OSTREAM, "file_upload", path, executable, **options) as call:
            count: int = await send_file(call, source, progress, offset=offset, holes=self._link.holes)
            return count

    async def _resumption(self, source: StrPath, path: str) -> tuple[int, str | None]:
        """Return from where an upload continues, and the digest of the whole file if that is not its begin."""
        try:
            kept = await self.stat(partial_of(path), sha256=True)
        except MethodError as error:
            if error.cause_type != "FileNotFoundError":
                raise
            return 0, None
        async with reading(source) as (threads, file):
            if kept["size"] > file.size:
                return 0, None
            begin, whole = await threads.run(file.digests, kept["size"])
        return (kept["size"], whole) if begin == kept["sha256"] else (0, None)

    async def download(
        self,
        path: str,
        target: StrPath,
        *,
        remove: bool = False,
        offset: int = 0,
        length: int | None = None,
        resume: bool = False,
        mode: int | None = None,
        mtime: float | None = None,
        follow: bool = True,
        progress: Progress | None = None,
    ) -> int:
        """Download to the local file ``target`` (``file_download``), and return the number of bytes received.

        The target keeps its content until the download is complete, and then its mode. A symbolic link is followed.
        Data for a device or a FIFO is written into it. A file that cannot be replaced, such as a mounted one, is
        written in place once all data is there.

        :param remove: remove the file from the job when the target is complete. An older agent removes it when it has
            sent all data.
        :param offset: with ``length``, download this part of the file.
        :param resume: if the download is interrupted, keep its data (``.pagent-part-*`` beside the target), and
            continue with the next such download. It compares the digest of the whole file: MethodError ValueError if
            the file has changed; the data is then dropped.
        :param mode: permission bits of the complete file, also if it replaces another.
        :param mtime: its time, in seconds since the epoch.
        :param follow: otherwise a symbolic link that is the target is replaced.
        """
        if resume and (offset or length is not None):
            raise ValueError("resume cannot be combined with offset and length")
        async with PartialFile(target, resume=resume, mode=mode, mtime=mtime, follow=follow) as part:
            if part.have:
                found = await self.stat(path)
                if part.have > found["size"]:
                    await part.start_over()
            resumed = part.have > 0
            options = given(offset=offset or part.have) | ({} if length is None else {"length": length})
            # A removed file can neither be compared nor be sent again, and a full local disk may be noticed last.
            removes_itself = remove and not self._link.holes
            async with self._stream(messages.ISTREAM, "file_download", path, MIB, removes_itself, **options) as call:
                count: int = await receive_file(call, part, progress)
            if resumed and not removes_itself:
                await self._compare(path, part)
            await part.commit()
            if remove and not removes_itself:
                await self.remove_file(path)
        return count

    async def _compare(self, path: str, part: PartialFile) -> None:
        theirs = (await self.stat(path, sha256=True))["sha256"]
        if theirs != await part.sha256():
            part.discard()
            text = f"{path!r} has changed since its download was interrupted"
            raise MethodError(text, "ValueError", text)

    # --- memory -----------------------------------------------------------------------------------

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the content of a file (``file_download``)."""
        return b"".join([chunk async for chunk in self.read_chunks(path, offset=offset, length=length)])

    async def read_chunks(
        self, path: str, *, chunk_size: int = MIB, remove: bool = False, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the content of a file in chunks of ``chunk_size`` bytes, at most 1 MiB (``file_download``).

        Iterate to the end, or call ``aclose()`` on the iterator to cancel the transfer.
        """
        options = given(offset=offset) | ({} if length is None else {"length": length})
        async with self._stream(messages.ISTREAM, "file_download", path, chunk_size, remove, **options) as call:
            await size_of(call)
            async for chunk in call:
                if isinstance(chunk, int):
                    for start in range(0, chunk, chunk_size):
                        yield bytes(min(chunk_size, chunk - start))
                else:
                    yield bytes(chunk)
            await call.result()

    async def write(
        self,
        path: str,
        data: Bytes | AsyncIterable[Bytes],
        *,
        executable: bool = False,
        offset: int = 0,
        sha256: str | None = None,
        partial: bool = False,
        mode: int | None = None,
        mtime: float | None = None,
    ) -> int:
        """Upload bytes, or the bytes of an async iterable (``file_upload``), with the options of :meth:`upload`."""
        options = given(offset=offset, sha256=sha256, partial=partial) | _attributes(mode, mtime)
        async with self._stream(messages.OSTREAM, "file_upload", path, executable, **options) as call:
            async for piece in all_payloads(data):
                await call.send(piece)
            count: int = await _result(call)
            return count

    # --- entries ----------------------------------------------------------------------------------

    async def stat(self, path: str, *, sha256: bool = False) -> dict[str, Any]:
        """Return ``{'path', 'type': 'file'|'dir'|'link'|'other', 'size', 'mode', 'mtime'}`` (``file_stat``).

        ``size`` is in bytes, ``mode`` has the permission bits, ``mtime`` is in seconds since the epoch. With
        ``sha256``, the digest of the file is returned as well, in hex. A symbolic link is not followed.
        """
        found: dict[str, Any] = await self._call("file_stat", path, sha256)
        return found

    async def list(
        self, path: str = "", *, recursive: bool = False, after: str | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the entries of a folder, sorted, in the form of :meth:`stat` (``file_list``).

        An entry that cannot be read has an ``error``.

        :param recursive: return the entries of all folders below as well.
        :param limit: return one page of at most this number of entries, from after the path ``after`` on. An empty
            page is the end. Without it, all entries are returned, with as many calls as necessary.
        """
        if limit is not None or not self._link.holes:
            options = {} if after is None and limit is None else {"after": after, "limit": limit}
            page: list[dict[str, Any]] = await self._call("file_list", path, recursive, **options)
            return page
        found: list[dict[str, Any]] = []
        while page := await self._call("file_list", path, recursive, after=after, limit=_PAGE):
            found += page
            after = page[-1]["path"]
        return found

    async def remove_file(self, path: str, *, recursive: bool = False) -> dict[str, Any]:
        """Remove a file, a link or an empty folder, and return what :meth:`stat` returned for it (``file_remove``).

        :param recursive: remove a folder with all its content. Agents of older releases refuse this.
        """
        options = {"recursive": True} if recursive else {}
        found: dict[str, Any] = await self._call("file_remove", path, **options)
        return found


def _attributes(mode: int | None, mtime: float | None) -> dict[str, Any]:
    """Return the options for the attributes of an uploaded file, which older agents do not have."""
    return {name: value for name, value in (("mode", mode), ("mtime", mtime)) if value is not None}


# --- shared with archives -------------------------------------------------------------------------


async def size_of(call: StreamCall) -> int:
    """Return the size from the first message of a download."""
    head = await call.receive()
    if head is None:
        await call.result()  # raises: an error before the first message arrives as the result
    size: int = head["size"]
    return size


async def send_file(
    call: StreamCall, source: StrPath, progress: Progress | None, *, offset: int = 0, holes: bool = False
) -> Any:
    """Send a local file from ``offset`` on, and return the result. ``holes``: the agent accepts holes as such."""
    step = progress or no_progress
    async with reading(source, offset, holes=holes) as (threads, file):
        done = offset
        while data := await threads.run(file.read):
            for piece in [data] if isinstance(data, int) else payloads_of(data):
                await call.send(piece)
                done += piece if isinstance(piece, int) else len(piece)
                step(done, file.size)
    return await _result(call)


async def receive_file(call: StreamCall, part: PartialFile, progress: Progress | None) -> Any:
    """Write the data of a download to a local file, and return the result."""
    step = progress or no_progress
    done = part.have
    total = done + await size_of(call)
    async for data in call:
        if isinstance(data, int):
            await part.skip(data)
            done += data
        else:
            await part.write(data)
            done += len(data)
        step(done, total)
    return await call.result()


async def _result(call: StreamCall) -> Any:
    call.close()
    return await call.result()
