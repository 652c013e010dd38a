"""Settings of the garbage collector and of malloc, for a process that runs long and moves many bytes."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
from typing import Final

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


def freeze_loaded() -> None:
    """Exclude all objects that exist now from garbage collection, and collect less often.

    The modules that are loaded live as long as the process and have about 100,000 objects. To visit these again and
    again takes a tenth of the CPU time of a process that moves bytes.
    """
    gc.freeze()
    gc.set_threshold(_COLLECTED_FROM, *gc.get_threshold()[1:])


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks for the next ones; other C libraries are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for parameter, value in ((_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_MMAP_THRESHOLD, _MAPPED_BYTES)):
        if mallopt(parameter, value) != 1:
            _log.debug("mallopt(%d) is refused", parameter)
