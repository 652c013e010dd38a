"""The files of a job's sandbox: from and to local paths, with progress."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Any

from pagent.limits import BODY_CHUNK
from pagent.rpc.aio import StreamCall
from pagent.rpc.connection import Connection
from pagent.wire import messages

#: Called with the bytes done and the bytes there are.
Progress = Callable[[int, int], None]

#: A transfer takes as long as it takes.
_CHUNK = 1024 * 1024


class FileMethods:
    """The file methods of a job. Local file work is done in threads."""

    def __init__(self, link: Connection, uid: str) -> None:
        self._link = link
        self.uid = uid

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await self._link.call(method, self.uid, *args, timeout=None, **kwargs)

    def _stream(self, call_type: int, method: str, *args: Any, **kwargs: Any) -> StreamCall:
        return self._link.open_stream(call_type, method, self.uid, *args, **kwargs)

    async def upload(
        self, source: str | os.PathLike[str], path: str, *, executable: bool = False, progress: Progress | None = None
    ) -> int:
        """``file_upload`` of a local file; bytes written. The file appears whole or not at all."""
        async with self._stream(messages.OSTREAM, "file_upload", path, executable) as call:
            return await _send_file(call, Path(source), progress)

    async def download(
        self, path: str, target: str | os.PathLike[str], *, remove: bool = False, progress: Progress | None = None
    ) -> int:
        """``file_download`` to a local file; bytes read. The local file appears whole or not at all."""
        async with self._stream(messages.ISTREAM, "file_download", path, _CHUNK, remove) as call:
            return await _receive_file(call, Path(target), progress)

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """``file_download`` into memory."""
        options = {"offset": offset, "length": length} if offset or length is not None else {}
        async with self._stream(messages.ISTREAM, "file_download", path, _CHUNK, **options) as call:
            parts = [part async for part in call]
            await call.result()
            return b"".join(parts[1:])

    async def write(self, path: str, data: bytes, *, executable: bool = False) -> int:
        """``file_upload`` from memory."""
        async with self._stream(messages.OSTREAM, "file_upload", path, executable) as call:
            for start in range(0, len(data), BODY_CHUNK):
                await call.send(memoryview(data)[start : start + BODY_CHUNK])
            call.close()
            count: int = await call.result()
            return count

    async def upload_archive(self, source: str | os.PathLike[str], *, progress: Progress | None = None) -> int:
        """``archive_upload`` of a local tar (plain, gzip, bz2, xz), unpacked into the sandbox; its size."""
        async with self._stream(messages.OSTREAM, "archive_upload") as call:
            return await _send_file(call, Path(source), progress)

    async def download_archive(
        self,
        target: str | os.PathLike[str],
        *,
        include_mask: str | None = None,
        exclude_mask: str | None = None,
        compress: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """``archive_download`` of the sandbox to a local tar; its size."""
        arguments = (include_mask, exclude_mask, compress, _CHUNK)
        async with self._stream(messages.ISTREAM, "archive_download", *arguments) as call:
            return await _receive_file(call, Path(target), progress)

    async def stat(self, path: str, *, sha256: bool = False) -> dict[str, Any]:
        """``file_stat``."""
        found: dict[str, Any] = await self._call("file_stat", path, sha256)
        return found

    async def list(self, path: str = "", *, recursive: bool = False) -> list[dict[str, Any]]:
        """``file_list``."""
        found: list[dict[str, Any]] = await self._call("file_list", path, recursive)
        return found

    async def remove_file(self, path: str) -> dict[str, Any]:
        """``file_remove``; what it was."""
        found: dict[str, Any] = await self._call("file_remove", path)
        return found


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while data := await asyncio.to_thread(file.read, BODY_CHUNK):
        yield data


async def _send_file(call: StreamCall, source: Path, progress: Progress | None) -> int:
    with await asyncio.to_thread(source.open, "rb") as file:
        total = os.fstat(file.fileno()).st_size
        done = 0
        async for data in _pieces(file):
            await call.send(data)
            done += len(data)
            if progress is not None:
                progress(done, total)
    call.close()
    count: int = await call.result()
    return count


async def _receive_file(call: StreamCall, target: Path, progress: Progress | None) -> int:
    head = await call.receive()
    if head is None:
        await call.result()  # raises: an error before the first message comes as the result alone
    partial = target.with_name(target.name + ".part")
    try:
        with await asyncio.to_thread(partial.open, "wb") as file:
            done = 0
            async for data in call:
                await asyncio.to_thread(file.write, data)
                done += len(data)
                if progress is not None:
                    progress(done, head["size"])
        count: int = await call.result()
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return count
