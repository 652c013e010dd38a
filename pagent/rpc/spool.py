"""Stream messages on disk: what a slow job does not take from a peer that knows no flow control.

First in, first out, in files of the job's sandbox that the opener gives (anonymous, so that each goes with its
descriptor, as soon as it has been read). All file work is done in a thread, in large pieces; the loop never waits for
the disk.
"""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pagent.limits import GIB, SPOOL_FILE, SPOOL_PENDING_MAX, SPOOL_READ, SPOOL_WRITE_TIMEOUT_S
from pagent.net.tasks import TaskOwner

_HEADER_BYTES: Final = 5
_BIN: Final = 0
_STR: Final = 1


class SpoolOpener(NamedTuple):
    """How to get a spool file: a blocking function that returns a descriptor, and the most that may go in, bytes."""

    open: Callable[[], int]
    limit: int


def _open_temporary() -> int:
    with tempfile.TemporaryFile(prefix="pagent-spool-") as file:
        return os.dup(file.fileno())


#: For streams of which nobody said where: the system's temporary folder.
DEFAULT_SPOOL: Final = SpoolOpener(_open_temporary, GIB)


class _File:
    """One of a spool's files, and how much of it has been written and read."""

    __slots__ = ("fd", "read", "written")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.written = 0
        self.read = 0


class Spool:
    """A queue of bins and strings in files.

    ``deliver(values, empty)`` is called with what was read after each :meth:`want`; with ``empty`` the spool is used
    up and closed. ``fail(reason)`` is called once if the disk does not take or give the data, or the limit is reached.
    """

    def __init__(
        self,
        opener: SpoolOpener,
        deliver: Callable[[list[Any], bool], None],
        fail: Callable[[str], None],
        choke: Callable[[bool], None],
    ) -> None:
        self._opener = opener
        self._deliver = deliver
        self._fail = fail
        self._choke = choke
        self._choked = False
        self._files: deque[_File] = deque()  # the thread's, while it works
        self._pending = bytearray()  # not written yet
        self._kept = 0  # bytes of records that have not been delivered
        self._partial = bytearray()  # read, but not a whole record yet
        self._wanted = False
        self._tasks = TaskOwner("spool")
        self._running = False
        self._writing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = False

    def append(self, value: Any) -> None:
        """Keep one message, a bytes-like object or a string; anything else is the peer's error and fails the stream."""
        if self._closed:
            return
        if isinstance(value, str):
            tag, data = _STR, value.encode("utf-8", "surrogatepass")
        elif isinstance(value, (bytes, bytearray, memoryview)):
            tag, data = _BIN, bytes(value)
        else:
            self._end(f"a stream message of type {type(value).__name__} where bytes or text are meant")
            return
        if self._kept + len(data) > self._opener.limit:
            self._end(f"the job does not take its data, and {self._opener.limit} bytes are spooled already")
        else:
            self._pending += bytes((tag,)) + len(data).to_bytes(4, "big") + data
            self._kept += _HEADER_BYTES + len(data)
            self._set_choke(len(self._pending) > SPOOL_PENDING_MAX)
            self._run()

    def want(self) -> None:
        """The consumer can take more."""
        self._wanted = True
        self._run()

    def close(self) -> None:
        """Forget everything. The file goes once the thread is done with it."""
        self._closed = True
        self._pending = bytearray()
        self._set_choke(False)
        if not self._running:
            self._close_files()

    def _run(self) -> None:
        if not self._running and not self._closed:
            self._running = True
            self._tasks.start(self._work(), name="spool")

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not self._closed and (self._pending or self._wanted):
                if self._pending:
                    piece, self._pending = self._pending, bytearray()
                    async with asyncio.timeout(SPOOL_WRITE_TIMEOUT_S):
                        self._writing = loop.run_in_executor(None, self._write, piece)
                        await asyncio.shield(self._writing)
                    self._set_choke(len(self._pending) > SPOOL_PENDING_MAX)
                if self._wanted and not self._closed:
                    data = await loop.run_in_executor(None, self._read_piece)
                    self._hand_over(data)
        except TimeoutError:
            self._end("the disk is too slow for the data that came for the job")
            await asyncio.wait((self._writing,))  # only then may the file be closed
        except OSError as error:
            self._end(f"spooling the stream's data failed: {error.strerror or error}")
        finally:
            self._running = False
            if self._closed:
                self._close_files()

    def _write(self, piece: bytearray) -> None:
        view = memoryview(piece)
        while view:
            if not self._files or self._files[-1].written >= SPOOL_FILE:
                self._files.append(_File(self._opener.open()))
            file = self._files[-1]
            done = os.pwrite(file.fd, view[:SPOOL_FILE], file.written)
            file.written += done
            view = view[done:]

    def _read_piece(self) -> bytes:
        if not self._files:
            return b""
        file = self._files[0]
        if file.read == file.written:
            return b""
        data = os.pread(file.fd, SPOOL_READ, file.read)
        if not data:
            raise OSError(errno.EIO, "the file has become shorter")
        file.read += len(data)
        if file.read == file.written >= SPOOL_FILE:
            os.close(self._files.popleft().fd)
        return data

    def _hand_over(self, data: bytes) -> None:
        if self._closed:
            return
        self._wanted = False
        self._partial += data
        values, used = _records(self._partial)
        del self._partial[:used]
        self._kept -= used
        empty = not self._kept
        if empty:
            self._closed = True
        elif not values:
            self._wanted = True  # a record longer than one piece
            return
        self._deliver(values, empty)

    def _set_choke(self, on: bool) -> None:
        if on is not self._choked:
            self._choked = on
            self._choke(on)

    def _end(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._fail(reason)

    def _close_files(self) -> None:
        while self._files:
            os.close(self._files.pop().fd)


def _records(data: bytearray) -> tuple[list[Any], int]:
    """Whole records at the beginning of ``data``, and how many bytes they take."""
    values: list[Any] = []
    view = memoryview(data)
    at = 0
    while len(data) - at >= _HEADER_BYTES:
        end = at + _HEADER_BYTES + int.from_bytes(data[at + 1 : at + _HEADER_BYTES], "big")
        if end > len(data):
            break
        payload = bytes(view[at + _HEADER_BYTES : end])
        values.append(payload if data[at] == _BIN else payload.decode("utf-8", "surrogatepass"))
        at = end
    view.release()
    return values, at
