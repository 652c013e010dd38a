"""Measure how late the timers of the event loop are: the time for which something has held up the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

#: Seconds between two measurements. A process that has nothing to do is woken by this only.
PERIOD_S: Final = 1.0


class LoopLag:
    """Calls ``observe`` with the lag, in seconds, once in a period, until :meth:`close`."""

    def __init__(self, observe: Callable[[float], None], period_s: float = PERIOD_S) -> None:
        self._observe = observe
        self._period_s = period_s
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + period_s
        self._timer = self._loop.call_at(self._due, self._measure)

    def _measure(self) -> None:
        now = self._loop.time()
        self._observe(max(0.0, now - self._due))
        self._due = now + self._period_s
        self._timer = self._loop.call_at(self._due, self._measure)

    def close(self) -> None:
        """Measure no more."""
        self._timer.cancel()
