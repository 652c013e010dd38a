"""Time limits of many connections with one timer.

A timer for each connection would be made and cancelled with every request. A connection stores its deadline instead,
and one timer of the event loop checks all of them, while connections are open.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, Protocol

from pagent.runtime.silence import SilenceTimer
from pagent.runtime.tasks import first_of

#: Seconds between two checks; a limit is exceeded by this time at most.
_INTERVAL_S: Final = 1.0
#: The part of the shortest limit that this may be, where a limit is that short.
_INTERVALS_LEAST: Final = 4

#: Seconds that a connection without a request stays open when the router ends. A client that sends one request after
#: another has sent the next one within this time. If the connection was closed before, it would get no answer.
DRAIN_IDLE_S: Final = 0.25

NEVER: Final = float("inf")


class Timed(Protocol):
    """A connection with a deadline, a time of the event loop; ``NEVER`` if it has none."""

    deadline: float

    @property
    def is_idle(self) -> bool:
        """Whether the connection can be closed without the loss of a request."""

    def expired(self) -> None:
        """Act on a deadline that has passed."""

    def drop(self) -> None:
        """Close the connection at once."""

    def drain(self) -> None:
        """Make the request under way, or the next one, the last; it has to come within DRAIN_IDLE_S."""

    def refuse(self) -> None:
        """End the request under way: with an error if no byte of its answer has been sent, otherwise by a cut."""


class Deadlines:
    """The deadlines of all connections of users. ``idle_s``: seconds that one may stay open without a request.

    ``shortest``: the shortest of the other limits.
    """

    def __init__(self, idle_s: float, shortest: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.idle_s = idle_s
        self._interval = min(_INTERVAL_S, min(idle_s, shortest) / _INTERVALS_LEAST)
        self._timed: set[Timed] = set()
        self._unused: OrderedDict[Timed, None] = OrderedDict()  # those without a request so far, the oldest first
        self._emptied: asyncio.Future[None] | None = None
        self._timer: SilenceTimer | None = None
        #: Whether each request is the last one of its connection: the router ends.
        self.draining = False

    def __len__(self) -> int:
        return len(self._timed)

    def add(self, timed: Timed) -> None:
        """Look at the deadline of this connection from now on."""
        self._timed.add(timed)
        self._unused[timed] = None
        if self._timer is None:
            self._timer = SilenceTimer(self._interval, self._look)

    def used(self, timed: Timed) -> None:
        """Take note that this connection has made a request."""
        self._unused.pop(timed, None)

    def discard(self, timed: Timed) -> None:
        """Forget this connection."""
        self._timed.discard(timed)
        self._unused.pop(timed, None)
        if self._emptied is not None and not self._timed and not self._emptied.done():
            self._emptied.set_result(None)

    def _look(self) -> None:
        self._expire()
        self._timer = SilenceTimer(self._interval, self._look) if self._timed else None

    def _expire(self) -> None:
        now = self._loop.time()
        for timed in [each for each in self._timed if each.deadline <= now]:
            timed.expired()

    def drop_idle(self) -> bool:
        """Close the oldest connection that has made no request, or that which has been idle for longest.

        Return whether there was one. Clients that only connect, or send a part of a head, so cost no client its
        connection that makes requests.
        """
        if self._unused:
            next(iter(self._unused)).drop()
            return True
        idle = [each for each in self._timed if each.is_idle]
        if idle:
            min(idle, key=lambda each: each.deadline).drop()
        return bool(idle)

    async def drain(self, over: asyncio.Event) -> None:
        """Let the requests under way end. Once ``over`` is set, refuse those that are left."""
        self.draining = True
        self.idle_s = DRAIN_IDLE_S
        await asyncio.sleep(0)  # for connections that are accepted, and not here yet
        await asyncio.sleep(0)
        for timed in list(self._timed):
            timed.drain()
        idle = self._loop.call_later(DRAIN_IDLE_S, self._expire)
        await self._wait_until_empty(over)
        idle.cancel()
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
        self._unused.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
