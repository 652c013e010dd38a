"""Defer the rest of expensive work on little input to later iterations of the event loop.

A few received bytes can need long work: a flood of empty frames, or a body that is compressed twice. A connection that
has done its share defers the rest. All connections with deferred work take turns, within a bound for each iteration.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from pagent.limits import KIB, MIB
from pagent.runtime.per_loop import PerLoop

#: Bytes of deferred work that are done in one loop iteration; work that is not decoding of bytes counts as the bytes
#: that take as long.
ITERATION_WORK: Final = MIB
#: The work that FRAMES_AT_ONCE frames count for.
FRAMES_WORK: Final = 64 * KIB


class DeferredWork:
    """The deferred work of one event loop; :func:`current_deferred` returns it."""

    __slots__ = ("_done", "_due", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._done = 0
        self._due = False

    def defer(self, work: Callable[[], None], done: int) -> None:
        """Call ``work`` in a later iteration.

        ``done``: the work of the caller in this iteration, as the number of bytes whose decoding takes as long.
        """
        self._waiting.append(work)
        self._done += done
        self._schedule()

    def _schedule(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        self._due = False
        self._done = 0
        waiting = self._waiting
        try:
            for _ in range(len(waiting)):
                if self._done >= ITERATION_WORK:
                    break
                waiting.popleft()()
        finally:  # also if one of them raises: the others are called in the next iteration
            if waiting:
                self._schedule()


_DEFERRED: Final = PerLoop(DeferredWork)


def current_deferred() -> DeferredWork:
    """Return the deferred work of the running loop."""
    return _DEFERRED.current()
