"""Idle connections to one port of a job, kept for its next requests."""

from __future__ import annotations

import asyncio
from collections import deque

from pagent.limits import IDLE_PER_PORT, IDLE_TIMEOUT_S
from pagent.net.port import PortConnection, PortUser, connect_port


class Pool:
    """The newest idle connection is used first, so that the others can grow old and go."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._idle: deque[tuple[float, PortConnection]] = deque()
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, user: PortUser, *, ask_kernel: bool) -> PortConnection | None:
        """An idle connection for ``user``, or None.

        ``ask_kernel`` for a request that may not be sent twice: costs a system call, and finds a connection that the
        job has just closed.
        """
        while self._idle:
            _, connection = self._idle.pop()
            if connection.closed:
                continue
            if ask_kernel and connection.is_stale():
                connection.abort()
                continue
            connection.user = user
            return connection
        return None

    async def connect(self, user: PortUser) -> PortConnection:
        """A new connection; OSError if the job does not accept one."""
        return await connect_port(self.port, user)

    def give(self, connection: PortConnection) -> None:
        """Take a connection back that has nothing under way."""
        if self._closed or len(self._idle) >= IDLE_PER_PORT:
            connection.close()
            return
        connection.user = _Idle(connection)
        self._idle.append((self._now(), connection))
        if self._timer is None:
            self._timer = self._loop.call_later(IDLE_TIMEOUT_S, self._sweep)

    def close(self) -> None:
        """The job has ended: drop all, keep none."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._idle:
            self._idle.pop()[1].abort()

    def _sweep(self) -> None:
        self._timer = None
        oldest = self._loop.time() - IDLE_TIMEOUT_S
        while self._idle and (self._idle[0][0] <= oldest or self._idle[0][1].closed):
            self._idle.popleft()[1].close()
        if self._idle:
            self._timer = self._loop.call_at(self._idle[0][0] + IDLE_TIMEOUT_S, self._sweep)


class _Idle:
    """The user of an idle connection: whatever the job says there is unasked for, and ends it."""

    __slots__ = ("_connection",)

    def __init__(self, connection: PortConnection) -> None:
        self._connection = connection

    def port_data(self, data: bytes) -> None:
        self._connection.abort()

    def port_eof(self) -> None:
        self._connection.close()

    def port_blocked(self) -> None:
        pass

    def port_writable(self) -> None:
        pass

    def port_lost(self, error: Exception | None) -> None:
        pass
