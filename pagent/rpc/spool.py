"""What a slow job does not take from a peer that knows no flow control: in memory while it is little, then on disk.

First in, first out. What has come last is in memory; once that is more than SPOOL_MEMORY it all goes to disk, behind
what is there: a job which falls behind for a moment costs no disk work, and one which stays behind costs it in large
pieces. The files are of the job's sandbox and given by the opener (anonymous, so that each goes with its
descriptor, as soon as it has been read). A thread works on them; the loop never waits for the disk.
"""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final, NamedTuple

from pagent.buffers import JOIN_MAX, Bytes, behind, joined
from pagent.limits import GIB, KIB, MIB, SPOOL_MEMORY, SPOOL_MEMORY_ALL, SPOOL_PENDING_MAX, SPOOL_WRITE_TIMEOUT_S
from pagent.rpc.throttle import THROTTLE_JOB_S, ReadThrottle
from pagent.runtime.memory import current_memory
from pagent.runtime.tasks import TaskOwner, retrieve_error
from pagent.wire import messages
from pagent.wire.values import unpack

#: Bytes of a spool that are read at a time, and while memory is short.
SPOOL_READ: Final = MIB
SPOOL_READ_SHORT: Final = 64 * KIB
#: Bytes that go into one file of a spool, about. A job that is always a little slow would otherwise fill the disk.
SPOOL_FILE: Final = 64 * MIB


_HEADER_BYTES: Final = 5
_BIN: Final = 0
_STR: Final = 1
_PACKED: Final = 2
#: What a record takes in memory beside its bytes.
_RECORD_COST: Final = 64
#: Buffers of one write; POSIX promises 16, Linux and the BSDs have 1024.
_VECTOR: Final = 512


class _Packed:
    """A value that is neither text nor bytes."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


Record = str | bytes | bytearray | memoryview | _Packed


def _nobody() -> None:
    """Who is told that the disk has failed, if nobody else is."""


class SpoolOpener(NamedTuple):
    """How to get a spool file: a blocking function that returns a descriptor, and the most that may be kept, bytes.

    ``failed`` is called if the disk fails the spool, before its stream ends. ``pause_s``: how long the reading of the
    link may pause before its data goes to the spool; longer where the receiver's own work is to write to the same disk.
    """

    open: Callable[[], int]
    limit: int
    failed: Callable[[], None] = _nobody
    pause_s: float = THROTTLE_JOB_S


def _open_temporary() -> int:
    with tempfile.TemporaryFile(prefix="pagent-spool-") as file:
        return os.dup(file.fileno())


#: For streams of which nobody said where: the system's temporary folder.
DEFAULT_SPOOL: Final = SpoolOpener(_open_temporary, GIB)


class _File:
    """One of a spool's files, and how much of it has been written and read; it holds whole records."""

    __slots__ = ("fd", "read", "written")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.written = 0
        self.read = 0


class Spool:
    """A queue of the values of stream messages.

    ``deliver(values, empty)`` is called with some of them after each :meth:`want`, before it returns if they are in
    memory; with ``empty`` the spool is used up and closed. ``fail(reason)`` is called once if the disk does not take or
    give the data, or the limit is reached. ``memory``: bytes beyond which they go to disk.
    """

    #: Of all spools together.
    _in_memory: ClassVar[int] = 0

    def __init__(
        self,
        opener: SpoolOpener,
        deliver: Callable[[list[Any], bool], None],
        fail: Callable[[str], None],
        throttle: ReadThrottle,
        *,
        memory: int = SPOOL_MEMORY,
    ) -> None:
        self._opener = opener
        self._deliver = deliver
        self._fail = fail
        self._throttle = throttle
        self._memory = memory
        self.pause_after = self.pause_rest_s = 0.0
        self._newest: deque[Record] = deque()  # in memory
        self._newest_bytes = 0
        self._files: deque[_File] = deque()  # the thread's, while it works
        self._under_way = 0  # bytes that are being written
        self._on_disk = 0  # bytes of records there, or on their way there
        self._wanted = False
        self._tasks = TaskOwner("spool")
        self._running = False
        self._writing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffers = current_memory()
        self._closed = False

    def append(self, value: Any) -> None:
        """Keep the value of one message."""
        if self._closed:
            return
        is_plain = isinstance(value, (bytes, bytearray, memoryview, str))
        record: Record = value if is_plain else _Packed(messages.pack(value))
        cost = _cost(record)
        if self._on_disk + self._newest_bytes + cost > self._opener.limit:
            self._end(f"the job does not take its data, and {self._opener.limit} bytes are spooled already")
            return
        self._newest.append(record)
        self._count(cost)
        if self._is_ahead:
            self._throttle.pause_for_spool(self, cost)
        if self._is_much():
            self._run()

    def want(self) -> None:
        """The consumer can take more."""
        self._wanted = True
        if self._on_disk or self._running:
            self._run()
        elif self._newest and not self._closed:
            self._hand_over(self._take_newest(self._helping))

    def close(self) -> None:
        """Forget everything. The files go once the thread is done with them."""
        self._closed = True
        self._newest.clear()
        self._count(-self._newest_bytes)
        self._throttle.caught_up(self)
        if not self._running:
            self._close_files()

    @property
    def _helping(self) -> int:
        """Bytes to give back at a time."""
        return SPOOL_READ_SHORT if self._buffers.is_full else SPOOL_READ

    @property
    def _is_ahead(self) -> bool:
        """Whether the link has to wait for the disk: it has brought too much while the disk was busy."""
        if self._buffers.is_full:
            return self._newest_bytes + self._under_way > SPOOL_READ_SHORT
        return self._newest_bytes > SPOOL_PENDING_MAX

    def _is_much(self) -> bool:
        """Whether what is in memory has to go to disk."""
        short = self._buffers.is_full or Spool._in_memory > SPOOL_MEMORY_ALL
        return self._newest_bytes > self._memory or (self._newest_bytes > 0 and short)

    def _count(self, change: int) -> None:
        self._newest_bytes += change
        Spool._in_memory += change
        self._buffers.change(change)

    def _take_newest(self, most: int) -> list[Record]:
        """The oldest of what is in memory, at least one record."""
        taken = []
        size = 0
        while self._newest and size < most:
            record = self._newest.popleft()
            size += _cost(record)
            taken.append(record)
        self._count(-size)
        return taken

    def _run(self) -> None:
        if not self._running and not self._closed:
            self._running = True
            self._tasks.start(self._work(), name="spool")

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not self._closed:
                if self._is_much():
                    await self._write_newest(loop)
                if self._closed or not self._wanted:
                    if self._is_much():
                        continue
                    break
                if self._on_disk:
                    values = await loop.run_in_executor(None, self._read, self._helping)
                    self._on_disk -= sum(map(_cost, values))
                else:
                    values = self._take_newest(self._helping)
                self._hand_over(values)
        except TimeoutError:
            self._end("the disk is too slow for the data that came for the job")
            await asyncio.wait((self._writing,))  # only then may the file be closed
        except OSError as error:
            self._opener.failed()
            self._end(f"spooling the stream's data failed: {error.strerror or error}")
        except asyncio.CancelledError:  # the loop is at its end
            self.close()
            raise
        finally:
            self._running = False
            if self._closed:
                self._close_files_after_write()

    def _close_files_after_write(self) -> None:
        if self._under_way and not self._writing.done():
            self._writing.add_done_callback(lambda _: self._close_files())
        else:
            self._close_files()

    async def _write_newest(self, loop: asyncio.AbstractEventLoop) -> None:
        size = self._newest_bytes
        records = self._take_newest(size)
        self._on_disk += size
        self._buffers.change(size)
        self._writing = loop.run_in_executor(None, self._write, records)
        self._writing.add_done_callback(retrieve_error)  # its task may have been cancelled
        self._writing.add_done_callback(lambda _: self._buffers.change(-size))
        self._under_way = size
        self._resume_link()  # as much again may wait in memory
        async with asyncio.timeout(SPOOL_WRITE_TIMEOUT_S):
            await asyncio.shield(self._writing)
        self._under_way = 0
        self._resume_link()

    def _resume_link(self) -> None:
        if not self._is_ahead:
            self._throttle.caught_up(self)

    def _hand_over(self, records: list[Record]) -> None:
        if self._closed or not records:
            return
        self._wanted = False
        empty = not self._on_disk and not self._newest
        if empty:
            self._closed = True
            if not self._running:
                self._close_files()
        self._deliver([unpack(each.data) if isinstance(each, _Packed) else each for each in records], empty)

    def _end(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._fail(reason)

    def _close_files(self) -> None:
        while self._files:
            os.close(self._files.pop().fd)

    # --- in a thread ------------------------------------------------------------------------------

    def _write(self, records: list[Record]) -> None:
        if not self._files or self._files[-1].written >= SPOOL_FILE:
            self._files.append(_File(self._opener.open()))
        file = self._files[-1]
        buffers = joined(_buffers(records))
        while buffers:
            done = os.pwritev(file.fd, buffers[:_VECTOR], file.written)
            file.written += done
            buffers = behind(buffers, done)

    def _read(self, size: int) -> list[Record]:
        """About ``size`` bytes of records, at least one."""
        file = self._files[0]
        values, used = _records(memoryview(_pread(file, size)))
        if not values:
            header = _pread(file, _HEADER_BYTES)
            values, used = _records(memoryview(_pread(file, _HEADER_BYTES + int.from_bytes(header[1:], "big"))))
        if not values:
            raise OSError(errno.EIO, "the file has become shorter")
        file.read += used
        if file.read == file.written >= SPOOL_FILE:
            os.close(self._files.popleft().fd)
        return values


def _cost(record: Record) -> int:
    """What a record counts, in memory and on disk."""
    if isinstance(record, str) and not record.isascii():
        return _RECORD_COST + len(record.encode("utf-8", "surrogatepass"))
    return _RECORD_COST + len(record.data if isinstance(record, _Packed) else record)


def _pread(file: _File, size: int) -> bytes:
    data = os.pread(file.fd, size, file.read)
    if not data:
        raise OSError(errno.EIO, "the file has become shorter")
    return data


def _buffers(records: list[Record]) -> Iterator[Bytes]:
    """The bytes of records in a file."""
    for record in records:
        tag, data = _tagged(record)
        yield bytes((tag,)) + len(data).to_bytes(4, "big")
        yield data


def _tagged(record: Record) -> tuple[int, Bytes]:
    if isinstance(record, str):
        return _STR, record.encode("utf-8", "surrogatepass")
    if isinstance(record, _Packed):
        return _PACKED, record.data
    return _BIN, record


def _records(data: memoryview) -> tuple[list[Record], int]:
    """Whole records at the beginning of ``data``, and how many bytes they take."""
    values: list[Record] = []
    at = 0
    while len(data) - at >= _HEADER_BYTES:
        start = at + _HEADER_BYTES
        end = start + int.from_bytes(data[at + 1 : start], "big")
        if end > len(data):
            break
        payload = data[start:end]
        if data[at] == _STR:
            values.append(str(payload, "utf-8", "surrogatepass"))
        elif data[at] == _PACKED:
            values.append(_Packed(bytes(payload)))
        else:
            values.append(payload if end - start > JOIN_MAX else bytes(payload))
        at = end
    return values, at
