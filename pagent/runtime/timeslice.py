"""Bound the time that peers' calls take in one iteration of an event loop.

One read of a link can hold hundreds of calls, each of which takes microseconds or milliseconds. All links of a loop
share a slice of time in each iteration. When it is over, the remaining messages wait for the next iteration, in which
other ready connections have their turn first.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

from pagent.runtime.iteration import current_iteration
from pagent.runtime.per_loop import PerLoop

#: Seconds that the messages of all links, and the calls that they begin, may take in one loop iteration. At least one
#: message of each link is handled. The work of a caller on one message is bounded by the caller.
CALLS_TURN_S: Final = 0.005


class TimeSlice:
    """The slice of one event loop; :func:`current_slice` returns it."""

    __slots__ = ("_begun", "_ends", "_iteration")

    def __init__(self) -> None:
        self._iteration = current_iteration()
        self._begun = False
        self._ends = 0.0

    def is_over(self) -> bool:
        """Return whether the slice of this iteration is used up. The first call in an iteration begins it."""
        now = monotonic()
        if self._begun:
            return now >= self._ends
        self._iteration.call(self._iteration_ends)
        self._begun = True
        self._ends = now + CALLS_TURN_S
        return False

    async def wait(self) -> None:
        """Wait for an iteration with time left, if this one has none."""
        while self.is_over():  # noqa: ASYNC110 - until the next iteration
            await asyncio.sleep(0)

    def _iteration_ends(self) -> None:
        self._begun = False


_SLICES: Final = PerLoop(TimeSlice)


def current_slice() -> TimeSlice:
    """Return the slice of the running loop."""
    return _SLICES.current()
