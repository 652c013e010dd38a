"""Settings of the garbage collector and of malloc, for a process that runs long and moves many bytes.

malloc keeps freed memory. Where a few small blocks that are in use lie between thousands of large free ones,
that is nearly all memory that the process had at its peak. :class:`HeapTrimmer` returns it to the kernel.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from pagent.runtime.resident import resident_bytes

_log = logging.getLogger(__name__)

# malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

# glibc returns a freed block of some hundred KiB to the kernel. The next such block is then made of new pages, with a
# page fault for each: for a body in pieces of 256 KiB, these cost more than moving the bytes.
#: Bytes that may stay free at the end of the heap, and the size from which a block is mapped on its own.
_KEPT_BYTES: Final = 32 * 1024 * 1024
_MAPPED_BYTES: Final = 4 * 1024 * 1024

#: Containers made, less those freed, that start a collection of the youngest generation (Python's default: 700).
_COLLECTED_FROM: Final = 10_000

# Returning 400 MB takes 40 ms, and the pages cost the same again when they are used again.
#: Seconds between two looks at the memory of the process.
TRIM_PERIOD_S: Final = 5.0
#: Bytes of the kernel that malloc does not use, beyond those after the last trim, from which memory is returned.
_TRIM_FROM: Final = 32 * 1024 * 1024
#: CPU time in a second up to which a process is quiet, and the periods for which memory of a busy one is kept.
_QUIET: Final = 0.1
_BUSY_PERIODS: Final = 12


def freeze_loaded() -> None:
    """Exclude all objects that exist now from garbage collection, and collect less often.

    The modules that are loaded live as long as the process and have about 100,000 objects. To visit these again and
    again takes a tenth of the CPU time of a process that moves bytes.
    """
    gc.freeze()
    gc.set_threshold(_COLLECTED_FROM, *gc.get_threshold()[1:])


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks for the next ones; other C libraries are not changed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for parameter, value in ((_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_MMAP_THRESHOLD, _MAPPED_BYTES)):
        if mallopt(parameter, value) != 1:
            _log.debug("mallopt(%d) is refused", parameter)


class HeapTrimmer:
    """Returns memory that malloc does not use to the kernel, at a quiet moment, until :meth:`close`.

    Bytes that cannot be returned are remembered, so that a large process does not try again and again. Without glibc
    it does nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, period_s: float = TRIM_PERIOD_S) -> None:
        # For life.
        self._loop = loop
        self._period_s = period_s
        self._malloc = _trimmable_malloc()
        self._resident_at_start = resident_bytes() or 0
        # Of the last look.
        self._least = self._unused()
        self._cpu_s = time.process_time()
        self._busy_periods = 0
        self._timer = None if self._malloc is None else loop.call_later(period_s, self._look)

    def _unused(self) -> int:
        """Return resident bytes that malloc does not use: its free blocks, and memory that was never malloc's.

        This takes half a microsecond for each free block.
        """
        if self._malloc is None:
            return 0
        return (resident_bytes() or 0) - self._malloc.used_bytes()

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._period_s, self._look)
        is_busy, self._cpu_s = self._is_busy(), time.process_time()
        if (resident_bytes() or 0) - self._resident_at_start < _TRIM_FROM:
            self._busy_periods = 0
        elif is_busy and self._busy_periods < _BUSY_PERIODS:
            self._busy_periods += 1
        else:
            self._busy_periods = 0
            self._trim_if_worthwhile()

    def _is_busy(self) -> bool:
        return time.process_time() - self._cpu_s > _QUIET * self._period_s

    def _trim_if_worthwhile(self) -> None:
        assert self._malloc is not None
        unused = self._unused()
        self._least = min(self._least, unused)
        if unused - self._least >= _TRIM_FROM:
            self._malloc.trim()
            self._least = self._unused()

    def close(self) -> None:
        """Return no more memory."""
        if self._timer is not None:
            self._timer.cancel()


class _Malloc:
    """The statistics of glibc's malloc.

    :param info: mallinfo2, or mallinfo, whose figures are modulo 4 GiB, before glibc 2.33.
    """

    def __init__(self, info: Callable[[], Any], trim: Callable[[int], int]) -> None:
        self._info = info
        self._trim = trim

    def used_bytes(self) -> int:
        """Return the bytes of all blocks in use, individually mapped ones included."""
        figures = self._info()
        return int(figures.uordblks) + int(figures.hblkhd)

    def trim(self) -> None:
        """Return all free pages to the kernel."""
        self._trim(0)


def _trimmable_malloc() -> _Malloc | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    trim, info = getattr(library, "malloc_trim", None), getattr(library, "mallinfo2", None)
    number: Any = ctypes.c_size_t
    if info is None:
        info, number = getattr(library, "mallinfo", None), ctypes.c_uint
    if trim is None or info is None:  # musl
        return None
    # malloc.h, struct mallinfo2
    names = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]
    info.restype = type("_MallocFigures", (ctypes.Structure,), {"_fields_": [(name, number) for name in names]})
    trim.argtypes = [ctypes.c_size_t]
    return _Malloc(info, trim)
