"""The files of a job's sandbox: from and to memory and local paths."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Any

from pagent.buffers import Bytes
from pagent.client.calls import JobCalls, given
from pagent.client.local import LocalPart, Progress, StrPath, ignore, pieces, sha256_of
from pagent.client.pieces import all_pieces
from pagent.errors import MethodError
from pagent.limits import MIB
from pagent.names import PARTIAL_SUFFIX
from pagent.rpc.aio import StreamCall
from pagent.wire import messages


class FileMethods(JobCalls):
    """Paths in the sandbox are relative to it, made of ``/``.

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
            offset, sha256 = await self._kept(Path(source), path), await sha256_of(Path(source))
        options = given(offset=offset, sha256=sha256, partial=partial)
        async with self._stream(messages.OSTREAM, "file_upload", path, executable, **options) as call:
            return await send_file(call, Path(source), progress, offset=offset)

    async def _kept(self, source: Path, path: str) -> int:
        """Bytes of an earlier upload of ``source`` that the agent has."""
        try:
            kept: int = (await self.stat(path + PARTIAL_SUFFIX))["size"]
        except MethodError as error:
            if error.cause_type != "FileNotFoundError":
                raise
            return 0
        return kept if kept <= (await asyncio.to_thread(source.stat)).st_size else 0

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

        ``remove``: the agent deletes the file once it has sent all. ``offset`` and ``length``: only that part of it.
        ``resume``: should it break off, ``target.part`` is kept, and the next such download goes on from there and
        compares the digest of the whole: a MethodError ValueError if the file has changed, and the part is gone.
        """
        if resume and (offset or length is not None):
            raise ValueError("either resume a whole file, or offset and length of a part")
        async with LocalPart(target, resume=resume) as part:
            if part.have:
                found = await self.stat(path)
                if part.have > found["size"]:
                    part.begin_anew()
            resumed = part.have > 0
            options = given(offset=offset or part.have) | ({} if length is None else {"length": length})
            # What is removed can no longer be compared.
            early = remove and not resumed
            async with self._stream(messages.ISTREAM, "file_download", path, MIB, early, **options) as call:
                count = await receive_file(call, part, progress)
            if resumed:
                await self._compare(path, part)
                if remove:
                    await self.remove_file(path)
            await part.commit()
        return count

    async def _compare(self, path: str, part: LocalPart) -> None:
        await part.flush()
        theirs = (await self.stat(path, sha256=True))["sha256"]
        if theirs != await sha256_of(part.path):
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
            return await _result(call)

    # --- entries ----------------------------------------------------------------------------------

    async def stat(self, path: str, *, sha256: bool = False) -> dict[str, Any]:
        """``file_stat``: ``{'path', 'type': 'file'|'dir'|'link'|'other', 'size', 'mode', 'mtime'}``.

        Size in bytes, mode the permission bits, mtime seconds since the epoch; with ``sha256`` the digest of the file
        in hex. A link is told, not followed.
        """
        found: dict[str, Any] = await self._call("file_stat", path, sha256)
        return found

    async def list(self, path: str = "", *, recursive: bool = False) -> list[dict[str, Any]]:
        """``file_list``: the entries of a folder as :meth:`stat` tells them, sorted; ``recursive``: all beneath it."""
        found: list[dict[str, Any]] = await self._call("file_list", path, recursive)
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


async def send_file(call: StreamCall, source: Path, progress: Progress | None, *, offset: int = 0) -> int:
    """A local file, from ``offset`` on, to a call of an upload; its result."""
    step = progress or ignore
    with await asyncio.to_thread(source.open, "rb") as file:
        total = os.fstat(file.fileno()).st_size
        file.seek(offset)
        done = offset
        async for data in pieces(file):
            await call.send(data)
            done += len(data)
            step(done, total)
    return await _result(call)


async def receive_file(call: StreamCall, part: LocalPart, progress: Progress | None) -> int:
    """What a call of a download sends, to a local file; its result."""
    step = progress or ignore
    done = part.have
    total = done + await size_of(call)
    async for data in call:
        await part.write(data)
        done += len(data)
        step(done, total)
    count: int = await call.result()
    return count


async def _result(call: StreamCall) -> int:
    call.close()
    count: int = await call.result()
    return count
