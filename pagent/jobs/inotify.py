"""Have the kernel report writes to files: inotify(7)."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import sys
from collections.abc import Callable
from typing import Final, Self

_IN_MODIFY: Final = 0x002
_IN_ONESHOT: Final = 0x8000_0000
_EVENT: Final = struct.Struct("iIII")
_EVENTS_BYTES: Final = 64 * 1024


class FileWatches:
    """Watches of files. ``written`` is called on the event loop with the watch of a file that was written to."""

    def __init__(self, library: ctypes.CDLL, descriptor: int, written: Callable[[int], None]) -> None:
        self._library = library
        self._descriptor = descriptor
        self._written = written

    @classmethod
    def open(cls, written: Callable[[int], None]) -> Self | None:
        """Return watches; None if the system has none, as if the user has the 128 that are allowed by default."""
        if not sys.platform.startswith("linux"):
            return None
        library = ctypes.CDLL(None, use_errno=True)
        descriptor = int(library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if descriptor < 0:
            return None
        watches = cls(library, descriptor, written)
        asyncio.get_running_loop().add_reader(descriptor, watches._read)
        return watches

    def add(self, file: int, *, once: bool) -> int:
        """Watch an open file, and return the number of the watch; -1 if there is no room for it.

        ``once``: the first write ends the watch.
        """
        mask = _IN_MODIFY | (_IN_ONESHOT if once else 0)
        path = f"/proc/self/fd/{file}".encode()
        return int(self._library.inotify_add_watch(self._descriptor, path, ctypes.c_uint32(mask)))

    def remove(self, watch: int) -> None:
        """End a watch."""
        self._library.inotify_rm_watch(self._descriptor, watch)

    def close(self) -> None:
        """End all watches."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        for watch, mask, _, _ in _EVENT.iter_unpack(os.read(self._descriptor, _EVENTS_BYTES)):
            if mask & _IN_MODIFY:
                self._written(watch)
