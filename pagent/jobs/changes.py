"""Wait for a file to change: by inotify(7) where it is available, otherwise four times a second."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from types import TracebackType
from typing import Final

_IN_MODIFY: Final = 0x002
_LOOK_S: Final = 0.25
_EVENTS_BYTES: Final = 4096


class Changes:
    """``async with Changes(fd) as changes: await changes.next()``.

    A change between two waits is not lost: the next wait returns at once. :meth:`wake` ends a wait from outside.
    """

    def __init__(self, descriptor: int) -> None:
        self._watched = descriptor
        self._inotify = -1
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Changes:
        self._inotify = _inotify(self._watched)
        if self._inotify >= 0:
            self._loop.add_reader(self._inotify, self._changed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inotify >= 0:
            self._loop.remove_reader(self._inotify)
            os.close(self._inotify)

    def _changed(self) -> None:
        os.read(self._inotify, _EVENTS_BYTES)
        self._event.set()

    def wake(self) -> None:
        """Let :meth:`next` return."""
        self._event.set()

    async def next(self) -> None:
        """Wait until the file has changed since the last return, or :meth:`wake` is called."""
        if self._inotify >= 0:
            await self._event.wait()
        else:
            timer = self._loop.call_later(_LOOK_S, self._event.set)
            await self._event.wait()
            timer.cancel()
        self._event.clear()


def _inotify(watched: int) -> int:
    """Return a descriptor that is readable when the file has changed; -1 if the system has none."""
    if not sys.platform.startswith("linux"):
        return -1
    libc = ctypes.CDLL(None, use_errno=True)
    inotify = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if inotify < 0:  # a user has 128 of them by default; without one, the timer is used
        return -1
    if libc.inotify_add_watch(inotify, f"/proc/self/fd/{watched}".encode(), _IN_MODIFY) < 0:
        os.close(inotify)
        return -1
    return inotify
