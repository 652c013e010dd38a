"""The one gate of a listening port: it counts the connections of peers that are not known yet, and bounds them.

A connection has a place here from ``accept`` until it is closed or its peer is known: while nothing has come of it,
during the TLS handshake, the request's head, the answer, and the handshake of a link (docs/contract.rst, "Access").
There are so many places, and each has a time limit.

When all places are taken, those make room that keep a place without using it: first connections of which not a byte
has come for a second, the longest-waiting first; and connections that have begun and then said nothing for a second,
but only if no peer has got through for a while, since a client that makes a thousand connections at once is slow with
each of them. If there is none, accepting pauses, and the kernel's queue holds the rest.

A connection is a bare socket until its first byte comes, plain and TLS alike. So a silent one costs little, and the
kernel tells how long its peer has been silent, in the queue before ``accept`` too.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from pagent.limits import HANDSHAKE_TIMEOUT_S, HANDSHAKES_WAITING, PLACE_QUEUED_S, PLACE_SILENT_S, TLS_CLOSE_TIMEOUT_S
from pagent.net.accept.silence import silent_s
from pagent.net.tls import accepting_fault
from pagent.runtime.tasks import TaskOwner

#: Seconds between two checks of a gate that is full, and the checks in a row after which it counts as stuck: only then
#: does a connection that has sent something have to make room.
PLACE_CHECK_S: Final = 0.1
PLACE_STUCK_CHECKS: Final = 15
#: Accepting pauses for so many seconds when the process has no descriptor left.
ACCEPT_RETRY_S: Final = 0.5


_log = logging.getLogger(__name__)

_SHORTAGES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Stage(enum.Enum):
    SILENT = enum.auto()  # a bare socket: nothing has come of it
    OPENING = enum.auto()  # the transport is made, with TLS or without
    OPEN = enum.auto()  # a protocol has it
    ENDING = enum.auto()  # its peer has its answer, and only the end is waited for
    GONE = enum.auto()  # it has no place any more


#: Of connections in these stages nothing is to come.
_USELESS: Final = (Stage.SILENT, Stage.ENDING)


class Place:
    """One connection that is counted. Its protocol calls :meth:`heard`, and in the end :meth:`leave`."""

    def __init__(self, gate: ConnectionGate, sock: socket.socket, now: float) -> None:
        # For life.
        self._gate = gate
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        # Until it leaves.
        self.stage = Stage.SILENT
        self._waits_since = now  # for the peer
        self._paused = False
        self._expire: Callable[[], object] = self.drop
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(HANDSHAKE_TIMEOUT_S, self._expired)

    # --- for the protocol -------------------------------------------------------------------------

    @property
    def crowded(self) -> bool:
        """Whether more than half of the places are taken: no time to keep one for a request that may come."""
        return self._gate.taken > self._gate.places // 2

    def opened(self, transport: asyncio.Transport) -> None:
        """The protocol has the connection."""
        self._opening = None
        self._transport = transport
        if self.stage is Stage.GONE:
            transport.abort()
            return
        self.stage = Stage.OPEN
        self.heard()

    def heard(self) -> None:
        """Bytes have come, or the peer was told something: from now on it is waited for."""
        if self.stage is not Stage.ENDING:
            self._waits_since = self._loop.time()

    def ending(self) -> None:
        """The peer has its answer: what it still sends is no reason to wait longer."""
        if self.stage is Stage.OPEN:
            self.heard()
            self.stage = Stage.ENDING

    def paused(self, on: bool) -> None:
        """Whether the peer is not read: what lies in its socket is no sign of life then."""
        self._paused = on

    def restart(self) -> None:
        """A request is answered: the connection has its time again, for the next one."""
        self.heard()
        self._timer.cancel()
        self._timer = self._loop.call_later(HANDSHAKE_TIMEOUT_S, self._expired)

    def expires_with(self, expire: Callable[[], object]) -> None:
        """Do this when its time is over, instead of dropping it."""
        self._expire = expire

    def leave(self, *, known: bool = False) -> None:
        """Give the place back: the connection is closed, or its peer is ``known``."""
        if self.stage is not Stage.GONE:
            self.stage = Stage.GONE
            self._timer.cancel()
            self._gate.left(self, known=known)

    def make_room(self) -> None:
        """Close the connection for the sake of others."""
        peer = _address_of(self._socket)
        _log.warning("%s: dropped: %d unauthenticated connections are open", peer, self._gate.taken)
        self.drop()

    def drop(self) -> None:
        """Close the connection at once."""
        stage = self.stage
        self.leave()
        if stage is Stage.SILENT:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        elif self._opening is not None:
            self._opening.cancel()
        elif self._transport is not None:
            self._transport.abort()

    # --- for the gate -----------------------------------------------------------------------------

    def silent_for(self, now: float) -> float:
        """Seconds since the peer has said anything that was asked of it."""
        waited = now - self._waits_since
        if self.stage is Stage.ENDING or self._socket.fileno() < 0:
            return waited
        if not self._paused and _has_data(self._socket):
            return 0.0  # the loop is late, not the peer
        told = silent_s(self._socket)
        if told is None:
            return waited
        if self.stage is Stage.SILENT:
            return max(
                waited, told - PLACE_QUEUED_S
            )  # time in the kernel's queue counts, but for a slow client's start
        return min(waited, told)

    def await_first_byte(self) -> None:
        self._loop.add_reader(self._socket, self._first_byte)

    def _first_byte(self) -> None:
        self._loop.remove_reader(self._socket)
        self.stage = Stage.OPENING
        self.heard()
        self._opening = self._gate.open(self, self._socket)

    def _expired(self) -> None:
        self._expire()


class State(enum.Enum):
    ACCEPTING = enum.auto()
    FULL = enum.auto()  # until a place is given back, or may be taken away
    SHORT = enum.auto()  # no descriptors: for a moment
    CLOSED = enum.auto()


class ConnectionGate:
    """Accepts on ``sockets``; ``serve`` makes the protocol that gets a connection, with its place.

    ``tls`` may be replaced: it is for the next connection.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        serve: Callable[[Place], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None = None,
        places: int = HANDSHAKES_WAITING,
    ) -> None:
        # For life.
        self.places: Final = places
        self.tls = tls
        self._sockets = sockets
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskOwner("connection gate")
        # While open.
        self._taken: dict[Place, None] = {}
        self._state = State.FULL
        self._retry: asyncio.TimerHandle | None = None
        # Looks at a gate that was full, each a moment after the other, since a peer became known. They are counted and
        # not the time, because a loop that is late makes all peers late.
        self._full_checks = 0
        self._checked_at = 0.0
        self._accept_again()

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return len(self._taken)

    def stop(self) -> None:
        """Listen no more."""
        if self._state is not State.CLOSED:
            self._pause(State.CLOSED)
            for sock in self._sockets:
                sock.close()

    async def close(self) -> None:
        """Listen no more, and drop all connections that have a place."""
        self.stop()
        for place in list(self._taken):
            place.drop()
        await self._tasks.close()

    # --- for places -------------------------------------------------------------------------------

    def left(self, place: Place, *, known: bool) -> None:
        self._taken.pop(place, None)
        if known:
            self._full_checks = 0
        if self._state is State.FULL:
            self._accept_again()

    def open(self, place: Place, sock: socket.socket) -> asyncio.Task[None]:
        """Make the transport of a connection, after its TLS handshake if there is to be one."""
        task = self._tasks.start(self._open(place, sock), name="open a connection")
        # It may be cancelled before it has begun.
        task.add_done_callback(lambda task: sock.close() if task.cancelled() else None)
        return task

    async def _open(self, place: Place, sock: socket.socket) -> None:
        limits: dict[str, Any] = {}
        if self.tls is not None:
            limits = {"ssl_handshake_timeout": HANDSHAKE_TIMEOUT_S, "ssl_shutdown_timeout": TLS_CLOSE_TIMEOUT_S}
        peer = _address_of(sock)
        try:
            await self._loop.connect_accepted_socket(lambda: self._serve(place), sock, ssl=self.tls, **limits)
        except OSError as error:
            _log.warning("%s: %s", peer, accepting_fault(error))
            place.leave()
            sock.close()

    # --- accepting --------------------------------------------------------------------------------

    def _accept_again(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._state = State.ACCEPTING
        for sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    def _pause(self, state: State, retry_s: float | None = None) -> None:
        """Accept no more; again after so many seconds."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._state is State.ACCEPTING:
            for sock in self._sockets:
                self._loop.remove_reader(sock)
        self._state = state
        if retry_s is not None:
            self._retry = self._loop.call_later(retry_s, self._accept_again)

    def _accept(self, listening: socket.socket) -> None:
        """A connection is waiting, perhaps more."""
        if self.taken >= self.places:
            self._count_check()
            if (place := self._useless()) is None:
                self._pause(State.FULL, PLACE_CHECK_S)
                return
            place.make_room()
        while self.taken < self.places and self._accept_one(listening):
            pass

    def _count_check(self) -> None:
        now = self._loop.time()
        if now - self._checked_at >= PLACE_CHECK_S:
            self._checked_at = now
            self._full_checks += 1

    def _accept_one(self, listening: socket.socket) -> bool:
        """Whether there was one."""
        try:
            sock, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in _SHORTAGES:
                raise
            _log.error("no connection can be accepted: %s", error.strerror)
            self._pause(State.SHORT, ACCEPT_RETRY_S)
            return False
        self._enter(sock)
        return True

    def _enter(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with suppress(OSError):  # it may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        place = Place(self, sock, self._loop.time())
        self._taken[place] = None
        place.await_first_byte()

    def _useless(self) -> Place | None:
        """The connection that has to make room first, if one may."""
        now = self._loop.time()
        stuck = self._full_checks >= PLACE_STUCK_CHECKS
        found = [
            (place.stage in _USELESS, silence, place)
            for place in self._taken
            if (stuck or place.stage in _USELESS) and (silence := place.silent_for(now)) >= PLACE_SILENT_S
        ]
        return max(found, key=lambda each: each[:2])[2] if found else None


def _has_data(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _address_of(sock: socket.socket) -> str:
    try:
        name = sock.getpeername()
    except OSError:
        return "a peer that is gone"
    return f"{name[0]}:{name[1]}"
