"""Time limits of many connections with one timer.

A timer for each connection would be made and cancelled with every request. A connection stores its deadline instead,
and one timer of the event loop looks at all of them, as long as there are any.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

#: Between two looks; a limit is exceeded by so much at most.
_INTERVAL_S: Final = 1.0
#: The part of the shortest limit that this may be, where a limit is that short.
_INTERVALS_LEAST: Final = 4

NEVER: Final = float("inf")


class Timed(Protocol):
    """A connection with a deadline, a time of the event loop; ``NEVER`` if it has none."""

    deadline: float

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lost if it is closed."""

    def expired(self) -> None:
        """The deadline has passed."""

    def drop(self) -> None:
        """Close the connection at once."""


class Deadlines:
    """The deadlines of the connections of one listener. ``shortest``: the shortest limit in use, seconds."""

    def __init__(self, shortest: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._interval = min(_INTERVAL_S, shortest / _INTERVALS_LEAST)
        self._timed: set[Timed] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._timed)

    def add(self, timed: Timed) -> None:
        """Look at the deadline of this connection from now on."""
        self._timed.add(timed)
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval, self._look)

    def discard(self, timed: Timed) -> None:
        """Forget this connection."""
        self._timed.discard(timed)

    def _look(self) -> None:
        now = self._loop.time()
        for timed in [each for each in self._timed if each.deadline <= now]:
            timed.expired()
        self._timer = self._loop.call_later(self._interval, self._look) if self._timed else None

    def drop_idle(self) -> bool:
        """Close the connection that has been idle for longest, and return whether there was one."""
        idle = [each for each in self._timed if each.is_idle]
        if idle:
            min(idle, key=lambda each: each.deadline).drop()
        return bool(idle)

    def drop_all(self) -> None:
        """Drop all connections, and look no more."""
        for timed in list(self._timed):
            timed.drop()
        self._timed.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
