"""Wait for the last output of a job: after the exit of its main process, its children may still write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from pagent.limits import OUTPUT_QUIET_S, OUTPUT_TAIL_MAX_S

_LOOK_S: Final = 0.1


class Tail:
    """Waits, after the exit of a main process, until the output of its job is quiet.

    ``size`` returns the size of the output in bytes. ``quiet`` is called once that was the same for OUTPUT_QUIET_S, or
    after OUTPUT_TAIL_MAX_S. The size is checked at intervals: there is no event for output that is not written.
    """

    def __init__(self, size: Callable[[], int], quiet: Callable[[], None]) -> None:
        # For life.
        self._loop = asyncio.get_running_loop()
        self._size = size
        self._quiet = quiet
        # While it waits.
        self._timer: asyncio.TimerHandle | None = None
        self._known = 0
        self._quiet_at = 0.0
        self._latest = 0.0

    @property
    def waits(self) -> bool:
        """Whether it was begun, and neither cancelled nor complete."""
        return self._timer is not None

    def begin(self) -> None:
        """Begin to wait."""
        now = self._loop.time()
        self._known = self._size()
        self._quiet_at = now + OUTPUT_QUIET_S
        self._latest = now + OUTPUT_TAIL_MAX_S
        self._timer = self._loop.call_later(_LOOK_S, self._look)

    def cancel(self) -> None:
        """Stop waiting; ``quiet`` is not called."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        size = self._size()
        if size != self._known:
            self._known = size
            self._quiet_at = now + OUTPUT_QUIET_S
        if now >= min(self._quiet_at, self._latest):
            self._timer = None
            self._quiet()
        else:
            self._timer = self._loop.call_later(_LOOK_S, self._look)
