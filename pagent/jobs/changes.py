"""Wait for a file to change: by inotify(7) where it is available, otherwise four times a second."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

from pagent.jobs.inotify import FileWatches

_LOOK_S: Final = 0.25


class Changes:
    """``async with Changes(fd) as changes: await changes.next()``.

    A change between two waits is not lost: the next wait returns at once. :meth:`wake` ends a wait from outside.
    """

    def __init__(self, descriptor: int) -> None:
        self._watched = descriptor
        self._watches: FileWatches | None = None
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Changes:
        watches = FileWatches.open(lambda watch: self._event.set())
        if watches is not None and watches.add(self._watched, once=False) < 0:
            watches.close()
            watches = None
        self._watches = watches
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watches is not None:
            self._watches.close()

    def wake(self) -> None:
        """Let :meth:`next` return."""
        self._event.set()

    async def next(self) -> None:
        """Wait until the file has changed since the last return, or :meth:`wake` is called."""
        if self._watches is not None:
            await self._event.wait()
        else:
            timer = self._loop.call_later(_LOOK_S, self._event.set)
            await self._event.wait()
            timer.cancel()
        self._event.clear()
