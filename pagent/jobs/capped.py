"""The cap on a job's output files while the job writes them: ``jobs.max_output_bytes``.

The job appends to its files itself, so nothing stands between it and the disk: we look at their size now and then and
drop the oldest half of one that has grown past the cap. Nothing that is written meanwhile is lost: the kernel takes the
front away (fallocate(2)), by FALLOC_FL_COLLAPSE_RANGE, which makes the file shorter (ext4, xfs), or by
FALLOC_FL_PUNCH_HOLE, which leaves a hole of the same length (btrfs, tmpfs). Only where there is neither the whole
content goes.

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

#: Seconds between two checks of the size of a capped output file. It exceeds its cap by what is written meanwhile.
OUTPUT_LOOK_MIN_S: Final = 0.02
OUTPUT_LOOK_MAX_S: Final = 0.5


_log = logging.getLogger(__name__)

#: Both ways of fallocate(2) take whole blocks only, or do more work for parts of them.
_BLOCK: Final = 4096

#: EINVAL: blocks of another size.
_UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

#: Takes so many bytes from the front of a file; False if this file system cannot.
Drop = Callable[[int, int], bool]


class CappedOutput:
    """One output file. ``read`` and ``trim`` may be called in any thread; :meth:`close` when nothing else is under way.

    ``descriptor``: the file, open for writing; a copy of it is kept.
    """

    def __init__(self, descriptor: int, cap: int, collapse: Drop | None = None, punch: Drop | None = None) -> None:
        self._file = os.dup(descriptor)
        self._cap = cap
        self._collapse = collapse or _collapse
        self._punch = punch or _punch
        self._lock = threading.Lock()
        #: Of the first byte of the file, and of the first one that is not in a hole.
        self._base = 0
        self._start = 0
        #: Of the file, at the last look.
        self._size = 0

    def read(self, descriptor: int, offset: int, most: int) -> tuple[int, bytes]:
        """Up to ``most`` bytes from ``offset``, or from where what is still there begins; with their offset."""
        with self._lock:
            self._look()
            offset = max(offset, self._start)
            return offset, os.pread(descriptor, most, offset - self._base)

    def size(self) -> int:
        """What the output has come to, dropped bytes included."""
        with self._lock:
            size = self._look()
            return self._base + size

    def trim(self) -> None:
        """Drop the oldest half if it is too large. Blocking. OSError of the disk."""
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
        """Forget the file."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1


class OutputCap:
    """Keeps the files of one job trimmed from :meth:`run`'s start to its cancellation."""

    def __init__(self, uid: str, outputs: Sequence[CappedOutput], cap: int, threads: ThreadPool) -> None:
        self._threads = threads
        self._uid = uid
        self._outputs = outputs
        self._cap = cap

    async def run(self) -> None:
        """Look often while the output grows fast: it exceeds its cap by what is written between two looks."""
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
                _log.warning("job %s: its output cannot be cut to its cap: %s", self._uid, error)


# --- the kernel's ways ------------------------------------------------------------------------------


def _call(descriptor: int, mode: int, length: int) -> bool:
    """False if the file system does not do this; OSError for what went wrong."""
    error = fallocate(descriptor, mode, 0, length)
    if error == 0 or error in _UNSUPPORTED:
        return error == 0
    raise OSError(error, os.strerror(error))


def _collapse(descriptor: int, length: int) -> bool:
    return _call(descriptor, FALLOC_COLLAPSE_RANGE, length)


def _punch(descriptor: int, length: int) -> bool:
    return _call(descriptor, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, length)
