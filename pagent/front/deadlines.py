"""Time limits of many connections with one timer.

A timer for each connection would be made and cancelled with every request. A connection stores its deadline instead,
and one timer of the event loop looks at all of them, as long as there are any.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from pagent.runtime.tasks import first_of

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

    def drain(self) -> None:
        """Make the request under way the last one; close the connection if there is none."""

    def refuse(self) -> None:
        """End the request under way: with an error if nothing of its answer has been sent, otherwise by a cut."""


class Deadlines:
    """The deadlines of all connections of users. ``shortest``: the shortest limit in use, seconds."""

    def __init__(self, shortest: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._interval = min(_INTERVAL_S, shortest / _INTERVALS_LEAST)
        self._timed: set[Timed] = set()
        self._emptied: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        #: Whether each request is the last one of its connection: the router ends.
        self.draining = False

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
        if self._emptied is not None and not self._timed and not self._emptied.done():
            self._emptied.set_result(None)

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

    async def drain(self, over: asyncio.Event) -> None:
        """Let the requests under way end. Once ``over`` is set, refuse those that are left."""
        self.draining = True
        for timed in list(self._timed):
            timed.drain()
        await self._wait_until_empty(over)
        for timed in list(self._timed):
            timed.refuse()

    async def _wait_until_empty(self, over: asyncio.Event) -> None:
        if self._timed:
            self._emptied = self._loop.create_future()
            await first_of(self._emptied, over)

    def drop_all(self) -> None:
        """Drop all connections, and look no more."""
        for timed in list(self._timed):
            timed.drop()
        self._timed.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
