"""Connect to a port of a job, and bound the idle connections to all ports: they share this process's descriptors."""

from __future__ import annotations

import asyncio
import errno
import heapq
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from pagent.net.port.connect import connect_port
from pagent.net.port.connection import PortConnection
from pagent.net.port.user import PortUser

#: Idle connections closed together, the oldest first, when there are too many or no descriptor is left.
IDLE_CLOSED_TOGETHER: Final = 64


_NO_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE)
#: Loop iterations after which a closed transport has released its descriptor.
_CLOSED_WITHIN: Final = 4


class IdlePool(Protocol):
    """The idle connections of one port."""

    @property
    def oldest(self) -> float | None:
        """The time since which the oldest connection has been idle; None without connections."""

    def close_oldest(self) -> None:
        """Close the oldest connection, and no longer count it."""


class IdleConnections:
    """Bounds the idle connections of all pools together to ``most``; the oldest are closed first."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self._pools: set[IdlePool] = set()

    def join(self, pool: IdlePool) -> None:
        """Add a pool, which counts its connections in ``count`` and closes them on request."""
        self._pools.add(pool)

    def leave(self, pool: IdlePool) -> None:
        """Remove a pool."""
        self._pools.discard(pool)

    def added(self) -> None:
        """Count one more connection, and close the oldest ones if there are too many."""
        self.count += 1
        if self.count > self.most:
            self.close_oldest(min(IDLE_CLOSED_TOGETHER, 1 + self.most // 8))

    def close_oldest(self, count: int) -> int:
        """Close the ``count`` oldest connections, or all; return how many were closed."""
        ages = [(since, number, pool) for number, pool in enumerate(self._pools) if (since := pool.oldest) is not None]
        heapq.heapify(ages)
        closed = 0
        while ages and closed < count:
            _, number, pool = ages[0]
            pool.close_oldest()
            closed += 1
            since = pool.oldest
            if since is None:
                heapq.heappop(ages)
            else:
                heapq.heapreplace(ages, (since, number, pool))
        return closed


class Destination(Protocol):
    """A port that connections can be made to (:class:`JobPort`)."""

    number: int
    scheme: str
    idle: IdleConnections

    def completeness(self) -> Awaitable[bool] | None:
        """Return None if a response is complete whose connection has just ended; otherwise an awaitable of that."""

    async def connect(
        self, user: PortUser, made: Callable[[], None] | None = None, *, resets: bool = False
    ) -> PortConnection:
        """Return a new connection; OSError if there is none."""


class JobPort:
    """A port of a job; all its connections are made here.

    :param tls: if the job speaks TLS.
    :param check: raises OSError if the listener is not the job's: the job may have lost it, and any process of the host
        may have taken the port since. Called when ``listener`` returns another socket than before, and after a refused
        connection.
    :param listener: identifies the socket that listens on a port; None if the system does not provide that.
    :param completeness: as of :class:`Destination`.
    """

    def __init__(
        self,
        number: int,
        idle: IdleConnections,
        tls: ssl.SSLContext | None = None,
        check: Callable[[], Awaitable[None]] | None = None,
        listener: Callable[[int], int | None] = lambda _: None,
        completeness: Callable[[], Awaitable[bool] | None] = lambda: None,
    ) -> None:
        self.number = number
        self.scheme = "http" if tls is None else "https"
        self.idle = idle
        self._tls = tls
        self._check = check
        self._listener = listener
        self.completeness = completeness
        self._checking = asyncio.Lock()
        # As of the last connection.
        self._checked: int | None = None
        self._refused = False

    async def connect(
        self, user: PortUser, made: Callable[[], None] | None = None, *, resets: bool = False
    ) -> PortConnection:
        """Return a new connection. If descriptors are short, idle connections make room for it.

        :raises OSError: the job does not accept one.
        """
        waits = _CLOSED_WITHIN  # other connections may have been closed in this iteration
        while True:
            try:
                await self._check_listener()
                connection = await connect_port(self.number, user, made, resets=resets, tls=self._tls)
                self._refused = False
                return connection
            except ConnectionRefusedError:
                self._refused = True
                raise
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    raise
                if self.idle.close_oldest(IDLE_CLOSED_TOGETHER):
                    waits = _CLOSED_WITHIN
                elif not waits:
                    raise
            waits -= 1
            await asyncio.sleep(0)

    async def _check_listener(self) -> None:
        """Check the owner of the listener, if that may have changed; connections that begin together, once."""
        if self._check is None:
            return
        listener = self._listener(self.number)
        if not self._is_suspect(listener):
            return
        async with self._checking:
            if self._is_suspect(listener):
                await self._check()
                self._checked = listener
                self._refused = False

    def _is_suspect(self, listener: int | None) -> bool:
        """Return whether ``listener`` may be another than that of the last check."""
        return self._refused or listener not in (None, self._checked)
