"""The files of a job's sandbox: from and to memory and local paths."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Final

from pagent.buffers import Bytes
from pagent.client.calls import JobCalls, given
from pagent.client.local import Progress, StrPath, ignore, reading
from pagent.client.part import LocalPart
from pagent.client.pieces import all_pieces, pieces_of
from pagent.errors import MethodError
from pagent.limits import MIB
from pagent.names import partial_of
from pagent.rpc.aio import StreamCall
from pagent.wire import messages

#: Entries that one call of a listing asks for; an agent answers with fewer if they are too long.
_PAGE: Final = 10_000


class FileMethods(JobCalls):
    """Paths in the sandbox are relative to it, made of ``/``; a name that is not UTF-8 is one as a listing gives it.

    MethodErrors are FileNotFoundError, other OSErrors, and ValueError: a path that leaves the sandbox, a bad argument.
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
        progress: Progress | None = None,
    ) -> int:
        """``file_upload`` of the local file ``source``; the number of bytes sent. ``path`` appears whole or not at all.

        ``partial``: should the upload break off, the agent keeps what it has got. ``offset``: send the local file from
        there on, to such a part. ``sha256``: hex digest that the whole file must have, or it does not appear.
        ``resume``: all of these by itself: go on from what is kept, keep what comes, and check the whole.
        ``progress`` counts bytes of the whole file. OSError: ``source`` cannot be read. ValueError: one of these beside
        ``resume``.
        """
        if resume:
            if offset or sha256 is not None or partial:
                raise ValueError("resume finds offset, sha256 and partial by itself")
            partial = True
            async with reading(source) as (threads, file):
                sha256 = await threads.run(file.digest)
                offset = await self._kept(file.size, path)
        options = given(offset=offset, sha256=sha256, partial=partial)
        async with self._stream(messages.OSTREAM, "file_upload", path, executable, **options) as call:
            count: int = await send_file(call, source, progress, offset=offset, holes=self._link.holes)
            return count

    async def _kept(self, size: int, path: str) -> int:
        """Bytes of an earlier upload of a file of that size that the agent has."""
        try:
            kept: int = (await self.stat(partial_of(path)))["size"]
        except MethodError as error:
            if error.cause_type != "FileNotFoundError":
                raise
            return 0
        return kept if kept <= size else 0

    async def download(
        self,
        path: str,
        target: StrPath,
        *,
        remove: bool = False,
        offset: int = 0,
        length: int | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """``file_download`` to the local file ``target``, which appears whole or not at all; the number of bytes read.

        A link is followed, a file that is replaced keeps its mode, and a device or a FIFO is written into.
        ``remove``: the file is removed from the job once the target is there; an agent that is not ours deletes it when
        it has sent all. ``offset`` and ``length``: only that part of it. ``resume``: should it break off, the part is
        kept (``.pagent-part-*`` beside the target), and the next such download goes on from there and compares the
        digest of the whole: a MethodError ValueError if the file has changed, and the part is gone.
        """
        if resume and (offset or length is not None):
            raise ValueError("either resume a whole file, or offset and length of a part")
        async with LocalPart(target, resume=resume) as part:
            if part.have:
                found = await self.stat(path)
                if part.have > found["size"]:
                    await part.begin_anew()
            resumed = part.have > 0
            options = given(offset=offset or part.have) | ({} if length is None else {"length": length})
            # What is removed can be neither compared nor sent again, and a full disk here may be noticed last.
            early = remove and not self._link.holes
            async with self._stream(messages.ISTREAM, "file_download", path, MIB, early, **options) as call:
                count: int = await receive_file(call, part, progress)
            if resumed and not early:
                await self._compare(path, part)
            await part.commit()
            if remove and not early:
                await self.remove_file(path)
        return count

    async def _compare(self, path: str, part: LocalPart) -> None:
        theirs = (await self.stat(path, sha256=True))["sha256"]
        if theirs != await part.sha256():
            part.discard()
            text = f"{path!r} has changed since its download broke off"
            raise MethodError(text, "ValueError", text)

    # --- memory -----------------------------------------------------------------------------------

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """``file_download`` into memory."""
        return b"".join([chunk async for chunk in self.read_chunks(path, offset=offset, length=length)])

    async def read_chunks(
        self, path: str, *, chunk_size: int = MIB, remove: bool = False, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """``file_download`` piece by piece, each of ``chunk_size`` bytes (1 MiB at most) but the last.

        Iterate to the end, or ``aclose()`` the iterator: only then is the agent told to stop.
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
    ) -> int:
        """``file_upload`` of bytes, or of those that an async iterable yields; options as of :meth:`upload`."""
        options = given(offset=offset, sha256=sha256, partial=partial)
        async with self._stream(messages.OSTREAM, "file_upload", path, executable, **options) as call:
            async for piece in all_pieces(data):
                await call.send(piece)
            count: int = await _result(call)
            return count

    # --- entries ----------------------------------------------------------------------------------

    async def stat(self, path: str, *, sha256: bool = False) -> dict[str, Any]:
        """``file_stat``: ``{'path', 'type': 'file'|'dir'|'link'|'other', 'size', 'mode', 'mtime'}``.

        Size in bytes, mode the permission bits, mtime seconds since the epoch; with ``sha256`` the digest of the file
        in hex. A link is told, not followed.
        """
        found: dict[str, Any] = await self._call("file_stat", path, sha256)
        return found

    async def list(
        self, path: str = "", *, recursive: bool = False, after: str | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """``file_list``: the entries of a folder as :meth:`stat` tells them, sorted; ``recursive``: all beneath it.

        What cannot be read has an ``error``. ``limit``: one page of at most so many, which begins after the entry with
        the path ``after``; an empty one is the end. Without it all entries come, in as many calls as it takes.
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

    async def remove_file(self, path: str) -> dict[str, Any]:
        """``file_remove`` of a file, a link or an empty folder; what it was."""
        found: dict[str, Any] = await self._call("file_remove", path)
        return found


# --- shared with archives -------------------------------------------------------------------------


async def size_of(call: StreamCall) -> int:
    """The first message of a download."""
    head = await call.receive()
    if head is None:
        await call.result()  # raises: an error before the first message comes as the result alone
    size: int = head["size"]
    return size


async def send_file(
    call: StreamCall, source: StrPath, progress: Progress | None, *, offset: int = 0, holes: bool = False
) -> Any:
    """A local file, from ``offset`` on, to a call of an upload; its result. ``holes``: the agent takes them as such."""
    step = progress or ignore
    async with reading(source, offset, holes=holes) as (threads, file):
        done = offset
        while data := await threads.run(file.read):
            for piece in [data] if isinstance(data, int) else pieces_of(data):
                await call.send(piece)
                done += piece if isinstance(piece, int) else len(piece)
                step(done, file.size)
    return await _result(call)


async def receive_file(call: StreamCall, part: LocalPart, progress: Progress | None) -> Any:
    """What a call of a download sends, to a local file; its result."""
    step = progress or ignore
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
