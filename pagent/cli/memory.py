"""What the interpreter and the C library are told of memory, for a process that runs long and moves much."""

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

# glibc gives a freed block of some hundred KiB back to the kernel, and the next one is made of new pages, each with a
# page fault: for a body in pieces of 256 KiB that costs more than moving its bytes.
#: What may stay free at the end of the heap, and the size from which a block is mapped on its own.
_KEPT_BYTES: Final = 32 * 1024 * 1024
_MAPPED_BYTES: Final = 4 * 1024 * 1024


#: Containers that may be made, less those gone, before the youngest of them are looked through (Python: 700).
_COLLECTED_FROM: Final = 10_000


def spare_loaded() -> None:
    """Have the garbage collector not look at what has been loaded until now.

    It lives as long as the process, and there are some 100,000 objects of it: to walk through them again and again, in
    search of cycles that are not made, takes a tenth of the CPU time of a process that moves bytes.
    """
    gc.freeze()
    gc.set_threshold(_COLLECTED_FROM, *gc.get_threshold()[1:])


def keep_buffers() -> None:
    """Tell the C library; nothing happens where it is not glibc, which has its own idea of this."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for parameter, value in ((_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_MMAP_THRESHOLD, _MAPPED_BYTES)):
        if mallopt(parameter, value) != 1:
            _log.debug("mallopt(%d) is refused", parameter)
