"""Flags and calls for files that not every system has, under names that exist on every system."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Final

# 0 where a flag is absent: it is not needed there, or has no counterpart.
O_PATH: Final[int] = getattr(os, "O_PATH", 0)
O_DIRECTORY: Final[int] = getattr(os, "O_DIRECTORY", 0)
O_NOFOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
O_CLOEXEC: Final[int] = getattr(os, "O_CLOEXEC", 0)
O_NONBLOCK: Final[int] = getattr(os, "O_NONBLOCK", 0)
O_NOCTTY: Final[int] = getattr(os, "O_NOCTTY", 0)

# Modes of fallocate(2).
FALLOC_KEEP_SIZE: Final = 0x01
FALLOC_PUNCH_HOLE: Final = 0x02
FALLOC_COLLAPSE_RANGE: Final = 0x08


def fallocate(descriptor: int, mode: int, offset: int, length: int) -> int:
    """Return 0, or the errno of the call: ENOSYS where the system has none.

    Python has posix_fallocate(3) only, which writes zeros if a file system has no such call.
    """
    call = system_fallocate()
    if call is None:
        return errno.ENOSYS
    return 0 if call(descriptor, mode, offset, length) == 0 else ctypes.get_errno()


@cache
def system_fallocate() -> Callable[[int, int, int, int], int] | None:
    """Return fallocate(2) of the C library; None if the system has none."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    call = getattr(library, "fallocate64", None) or library.fallocate  # glibc of 32 bits has one of shorter numbers
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    found: Callable[[int, int, int, int], int] = call
    return found
