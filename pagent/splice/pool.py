"""Keep idle connections to the ports of jobs for the next requests.

A job may close a kept connection unannounced, just when a request is on its way. So a request that may not be repeated
takes a new connection, until the job has proven that it keeps connections. A server that serves one connection at a
time does not answer on a new one while another is idle. So an idle connection is closed when a new one gets no answer.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pagent.jobs.activity import JobActivity
from pagent.limits import IDLE_PER_PORT, IDLE_TIMEOUT_S
from pagent.net.port.connection import PortConnection
from pagent.net.port.user import PortUser
from pagent.splice.jobport import Destination

#: A request that may not be repeated is sent on a kept connection only after the port has served this number of
#: requests and closed no connection unannounced. A job that closes after a hundred requests each, or at random, is
#: known by then.
KEPT_PROVEN: Final = 1000
#: When a new connection has no answer for this time, in seconds, an idle one of the same port is closed: it may keep a
#: server of one or a few threads from answering. Any other server has lost nothing but a connection.
UNANSWERED_S: Final = 0.05
#: Seconds until the next one is closed, in which such a server can answer.
ROOM_PAUSE_S: Final = 0.005


class Pool:
    """The idle connections to one port. The newest is used first, so that the others reach their idle timeout."""

    def __init__(self, port: Destination, activity: JobActivity | None = None) -> None:
        # For life.
        self.port = port
        #: The clocks of the job; None if nothing reads them.
        self.activity = activity
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._closed = False
        # Idle connections, oldest first, with the time since when.
        self._idle: dict[PortConnection, float] = {}
        self._all = port.idle
        self._all.join(self)  # until the job has ended
        self._timer: asyncio.TimerHandle | None = None
        # Whether the job keeps connections as it says.
        self._given = 0
        self._unannounced = False
        # Users of new connections that have no answer, oldest first, and when the connections were made.
        self._unanswered: dict[PortUser, float] = {}
        self._room_timer: asyncio.TimerHandle | None = None
        self._room_wanted = False
        self._room_made = 0.0

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, user: PortUser, *, repeatable: bool) -> PortConnection | None:
        """Return an idle connection for ``user``, or None.

        A request that is not ``repeatable`` gets one only if the job has proven that it closes none unannounced.
        Otherwise its new connection takes the place of an idle one, which is closed.
        """
        if self._idle and not (repeatable or self._is_proven):
            self.close_oldest()
            return None
        while self._idle:
            connection, _ = self._idle.popitem()
            self._all.count -= 1
            if not repeatable and connection.is_stale():
                self.closed_unannounced()
                connection.abort()
                continue
            connection.user = user
            return connection
        return None

    @property
    def _is_proven(self) -> bool:
        return self._given >= KEPT_PROVEN and not self._unannounced

    def closed_unannounced(self) -> None:
        """Note that the job has closed a kept connection, and had not announced it (``Connection: close``)."""
        self._unannounced = True

    async def connect(self, user: PortUser, *, resets: bool = False) -> PortConnection:
        """Return a new connection, on which ``user`` sends a request at once; OSError if the job does not accept one.

        ``resets``: as for a tunnel, which the connection may become.
        """
        connection = await self.port.connect(user, resets=resets)
        self.asked(user)
        return connection

    def asked(self, user: PortUser) -> None:
        """Note that ``user`` waits for an answer on a new connection: see :meth:`answered`."""
        if not self._closed:
            self._unanswered[user] = self._now()
            self._watch(0.0)

    def answered(self, user: PortUser) -> None:
        """Note that the first byte of the answer has come, or that ``user`` no longer waits for it."""
        self._unanswered.pop(user, None)

    def give(self, connection: PortConnection) -> None:
        """Take back a connection on which no request is under way."""
        self._given += 1
        if self._closed or len(self._idle) >= IDLE_PER_PORT or (self._room_wanted and self._gives_room()):
            connection.close()
            return
        connection.user = _Idle(self, connection)
        self._idle[connection] = self._now()
        self._all.added()
        if self._timer is None:
            self._timer = self._loop.call_later(IDLE_TIMEOUT_S, self._sweep)

    def lost(self, connection: PortConnection) -> None:
        """Note that the job has ended an idle connection, or sent bytes on it."""
        if self._idle.pop(connection, None) is not None:
            self._all.count -= 1
        self.closed_unannounced()

    @property
    def oldest(self) -> float | None:
        """Since when the oldest connection has been idle; None without any."""
        return next(iter(self._idle.values()), None)

    def close_oldest(self) -> None:
        """Close the connection that has been idle for longest."""
        connection = next(iter(self._idle))
        del self._idle[connection]
        self._all.count -= 1
        connection.close()

    def close(self) -> None:
        """Drop all connections, and keep none from now on: the job has ended."""
        self._closed = True
        self._all.leave(self)
        for timer in (self._timer, self._room_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._room_timer = None
        self._unanswered.clear()
        self._all.count -= len(self._idle)
        while self._idle:
            self._idle.popitem()[0].abort()

    def _sweep(self) -> None:
        self._timer = None
        since = self.oldest
        while since is not None and since <= self._now() - IDLE_TIMEOUT_S:
            self.close_oldest()
            since = self.oldest
        if since is not None:
            self._timer = self._loop.call_at(since + IDLE_TIMEOUT_S, self._sweep)

    # --- room for new connections that get no answer ------------------------------------------------
    #
    # Each of them closes one idle connection at most, and they do so one after the other. So a slow job keeps its pool:
    # a connection that becomes idle there is used again before it can be closed, except one each UNANSWERED_S.

    def _watch(self, pause: float) -> None:
        due = self._due()
        if due is not None and self._room_timer is None:
            self._room_timer = self._loop.call_at(max(due, self._now() + pause), self._make_room)

    def _due(self) -> float | None:
        """Return when the longest-waiting user has waited for UNANSWERED_S; None if no user waits."""
        made = next(iter(self._unanswered.values()), None)
        return None if made is None else made + UNANSWERED_S

    def _make_room(self) -> None:
        """Close an idle connection for the longest-waiting user, or the next one that becomes idle."""
        self._room_timer = None
        due = self._due()
        if due is None:
            return
        if due > self._now():  # the user that the timer was for has been answered
            self._watch(0.0)
        elif self._idle:
            self.close_oldest()
            self._room_made_for_one()
        else:
            self._room_wanted = True

    def _room_made_for_one(self) -> None:
        del self._unanswered[next(iter(self._unanswered))]
        self._watch(ROOM_PAUSE_S)

    def _gives_room(self) -> bool:
        """Return whether to close a connection that becomes idle; otherwise :meth:`_make_room` decides later."""
        self._room_wanted = False
        due, now = self._due(), self._now()
        if due is None or now < max(due, self._room_made + UNANSWERED_S):
            self._watch(ROOM_PAUSE_S)
            return False
        self._room_made = now
        self._room_made_for_one()
        return True


class _Idle:
    """The user of an idle connection: any byte of the job there belongs to no request, and ends the connection."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool, connection: PortConnection) -> None:
        self._pool = pool
        self._connection = connection

    def port_data(self, data: bytes) -> None:
        self._pool.lost(self._connection)
        self._connection.abort()

    def port_eof(self) -> None:
        self._pool.lost(self._connection)
        self._connection.close()

    def port_blocked(self) -> None:
        pass

    def port_writable(self) -> None:
        pass

    def port_lost(self, error: Exception | None) -> None:
        self._pool.lost(self._connection)
