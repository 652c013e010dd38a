"""Cap the size of a job's output files while the job writes them (``jobs.max_output_bytes``).

The job appends to its files itself. The agent checks their sizes at intervals, and drops the oldest half of a file that
is larger than the cap. Bytes that the job writes meanwhile are not lost, because the kernel removes the front of the
file (fallocate(2)): FALLOC_FL_COLLAPSE_RANGE makes the file shorter (ext4, xfs), FALLOC_FL_PUNCH_HOLE leaves a hole of
the same length (btrfs, tmpfs). On a file system with neither, the whole content is dropped.

Readers count bytes from the start of the output, dropped ones included (:class:`CappedOutput`).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Final

from pagent.runtime.threads import ThreadPool
from pagent.unix import FALLOC_COLLAPSE_RANGE, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate

#: Seconds between two checks of the size of a capped output file. It exceeds its cap by the output of that time.
OUTPUT_LOOK_MIN_S: Final = 0.02
OUTPUT_LOOK_MAX_S: Final = 0.5


_log = logging.getLogger(__name__)

#: Both ways of fallocate(2) take whole blocks only, or do more work for parts of them.
_BLOCK: Final = 4096

#: EINVAL: blocks of another size.
_UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

#: Removes a number of bytes from the front of a file; returns False if the file system cannot do that.
Drop = Callable[[int, int], bool]


class CappedOutput:
    """One output file. ``read`` and ``trim`` may be called in any thread; :meth:`close` only when none of them runs.

    ``descriptor``: the file, open for writing; a copy of it is kept.
    """

    def __init__(self, descriptor: int, cap: int, collapse: Drop | None = None, punch: Drop | None = None) -> None:
        self._file = os.dup(descriptor)
        self._cap = cap
        self._collapse = collapse or _collapse
        self._punch = punch or _punch
        self._lock = threading.Lock()
        #: Offset in the output of the first byte of the file, and of its first byte that is not in a hole.
        self._base = 0
        self._start = 0
        #: Size of the file when it was last checked.
        self._size = 0

    def read(self, descriptor: int, offset: int, most: int) -> tuple[int, bytes]:
        """Return the offset and up to ``most`` bytes from ``offset``, or from the first byte that was not dropped."""
        with self._lock:
            self._look()
            offset = max(offset, self._start)
            return offset, os.pread(descriptor, most, offset - self._base)

    def size(self) -> int:
        """Return the bytes that the job has written, dropped ones included."""
        with self._lock:
            size = self._look()
            return self._base + size

    def trim(self) -> None:
        """Drop the oldest half of a file that is larger than the cap. Blocking. OSError of the disk."""
        with self._lock:
            size = self._look()
            kept = self._base + size - self._start
            if kept <= self._cap:
                return
            front = self._start - self._base
            front += (kept - self._cap // 2) // _BLOCK * _BLOCK
            if front >= size:  # a cap of less than a block
                front -= _BLOCK
            if front <= self._start - self._base:
                return
            self._drop(front, size)

    def _look(self) -> int:
        """Return the size of the file. Bytes that another program has cut off count as dropped."""
        size = os.fstat(self._file).st_size if self._file >= 0 else self._size
        if size < self._size:
            self._base += self._size
            self._start = self._base
        self._size = size
        return size

    def _drop(self, front: int, size: int) -> None:
        if self._collapse(self._file, front):
            self._base += front
            self._start = self._base
            self._size -= front
        elif self._punch(self._file, front):
            self._start = self._base + front
        else:
            os.ftruncate(self._file, 0)
            self._base += size
            self._start = self._base
            self._size = 0

    def close(self) -> None:
        """Close the file. The output keeps its size."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1


class OutputCap:
    """Keeps the output files of one job within their cap while :meth:`run` runs."""

    def __init__(self, uid: str, outputs: Sequence[CappedOutput], cap: int, threads: ThreadPool) -> None:
        self._threads = threads
        self._uid = uid
        self._outputs = outputs
        self._cap = cap

    async def run(self) -> None:
        """Check the sizes, more often while the output grows fast."""
        pause_s = OUTPUT_LOOK_MAX_S
        before = 0
        while True:
            size = sum(output.size() for output in self._outputs)
            if size != before:
                await self._trim()
            grown = (size - before) * 4 > self._cap
            pause_s = OUTPUT_LOOK_MIN_S if grown else min(pause_s * 2, OUTPUT_LOOK_MAX_S)
            before = size
            await asyncio.sleep(pause_s)

    async def _trim(self) -> None:
        for output in self._outputs:
            try:
                await self._threads.run(output.trim)
            except OSError as error:
                _log.warning(
                    "job %s: its output cannot be cut to its cap: %s", self._uid, error, extra={"job": self._uid}
                )


# --- fallocate(2) -----------------------------------------------------------------------------------


def _call(descriptor: int, mode: int, length: int) -> bool:
    """Return False if the file system does not support the mode. OSError for any other failure."""
    error = fallocate(descriptor, mode, 0, length)
    if error == 0 or error in _UNSUPPORTED:
        return error == 0
    raise OSError(error, os.strerror(error))


def _collapse(descriptor: int, length: int) -> bool:
    return _call(descriptor, FALLOC_COLLAPSE_RANGE, length)


def _punch(descriptor: int, length: int) -> bool:
    return _call(descriptor, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, length)
