"""The files of one spool: written at the end, read at the beginning, by one thread at a time.

The event loop may close them at any moment, also while a thread uses them: a thread that is inside a read or write then
closes them when that returns. A descriptor is never closed while a system call on it is under way, because its number
could belong to another file before the call ends.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pagent.buffers import joined, remaining
from pagent.limits import MIB
from pagent.rpc.spool_records import HEADER_BYTES, Record, decode, encode, record_bytes

#: Bytes that go into one file of a spool, about. A job that is always a little slow would otherwise fill the disk.
SPOOL_FILE: Final = 64 * MIB
#: Buffers of one write; POSIX promises 16, Linux and the BSDs have 1024.
_VECTOR: Final = 512


class _File:
    """One file, and the bytes of it that were written and read; it holds whole records."""

    __slots__ = ("fd", "read", "written")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.written = 0
        self.read = 0


class SpoolFiles:
    """A queue of records on disk. ``open_file`` returns the descriptor of a new file; it may block.

    A file is closed, which frees its space, once all of it has been read.
    """

    def __init__(self, open_file: Callable[[], int]) -> None:
        self._open_file = open_file
        self._files: deque[_File] = deque()
        self._lock = threading.Lock()  # of the two flags; never held during a system call on a file
        self._in_use = False
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether there is a file."""
        return bool(self._files)

    def end(self) -> None:
        """Take no more work. A thread that uses the files closes them when it is done, otherwise :meth:`close` does."""
        with self._lock:
            self._closed = True

    def close(self) -> None:
        """Close all files, now or when the thread that uses them is done."""
        with self._lock:
            self._closed = True
            in_use = self._in_use
        if not in_use:
            self._close_all()

    def write(self, records: list[Record]) -> None:
        """Write records after the earlier ones; nothing if the files are closed."""
        with self._use() as is_open:
            if is_open:
                self._append(records)

    def read(self, size: int) -> list[Record]:
        """Return and forget about ``size`` bytes of records, at least one; none if the files are closed."""
        with self._use() as is_open:
            return self._take(size) if is_open else []

    @contextmanager
    def _use(self) -> Iterator[bool]:
        with self._lock:
            is_open = self._in_use = not self._closed
        try:
            yield is_open
        finally:
            with self._lock:
                self._in_use = False
                closed = self._closed
            if is_open and closed:
                self._close_all()

    def _append(self, records: list[Record]) -> None:
        if not self._files or self._files[-1].written >= SPOOL_FILE:
            self._files.append(_File(self._open_file()))
        file = self._files[-1]
        buffers = joined(encode(records))
        while buffers:
            done = os.pwritev(file.fd, buffers[:_VECTOR], file.written)
            file.written += done
            buffers = remaining(buffers, done)

    def _take(self, size: int) -> list[Record]:
        file = self._files[0]
        records, used = decode(memoryview(_pread(file, size)))
        if not records:
            header = _pread(file, HEADER_BYTES)
            records, used = decode(memoryview(_pread(file, record_bytes(header))))
        if not records:
            raise _too_short()
        file.read += used
        if file.read == file.written >= SPOOL_FILE:
            os.close(self._files.popleft().fd)
        return records

    def _close_all(self) -> None:
        with self._lock:  # the loop and a thread may both close
            files, self._files = self._files, deque()
        for file in files:
            os.close(file.fd)


def _pread(file: _File, size: int) -> bytes:
    data = os.pread(file.fd, size, file.read)
    if not data:
        raise _too_short()
    return data


def _too_short() -> OSError:
    return OSError(errno.EIO, "the file has become shorter")
