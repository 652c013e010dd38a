"""The one gate of a listening port: it counts the connections of unauthenticated peers, and bounds them.

A connection has a place here from ``accept`` until it is closed or its peer is authenticated: while its first bytes
come, during the TLS handshake, the request's head, the answer, and the handshake of a link (docs/contract.rst,
"Access"). The number of places is fixed, and each has a time limit.

When all places are taken, connections that do not use theirs make room, the longest-waiting first:

* a connection that has sent nothing for a second;
* a connection whose bytes complete nothing: a part of a TLS ClientHello, of a request head, of a handshake. An honest
  peer sends each of them in one piece;
* a connection that has begun and then sent nothing for a second, but only if no peer has got through for a while: a
  client that opens a thousand connections at once is slow with each of them.

If no connection has to make room, accepting pauses, and the kernel's queue holds the others.

A connection is only a socket until its first bytes are complete, with TLS and without. So a silent one costs little,
and the kernel knows how long its peer has been silent, in the queue before ``accept`` too.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

from pagent.limits import HANDSHAKE_TIMEOUT_S, HANDSHAKES_WAITING, TLS_CLOSE_TIMEOUT_S
from pagent.net.accept.accepting import ACCEPT_RETRY_S, ShortageError, accept_one
from pagent.net.accept.first_flight import is_whole_hello, is_whole_request
from pagent.net.accept.place import Place, address_of
from pagent.net.tls import accepting_fault
from pagent.runtime.tasks import TaskOwner

#: Seconds between two checks of a gate that is full, and the checks in a row after which it counts as stuck: only then
#: does a connection that has sent something have to make room.
PLACE_CHECK_S: Final = 0.1
PLACE_STUCK_CHECKS: Final = 15

_log = logging.getLogger(__name__)


class GateState(enum.Enum):
    ACCEPTING = enum.auto()
    FULL = enum.auto()  # until a place is given back, or a connection has to make room
    SHORT = enum.auto()  # no descriptors: for a moment
    CLOSED = enum.auto()


class ConnectionGate:
    """Accepts on ``sockets``; ``serve`` makes the protocol that gets a connection, with its place.

    ``tls`` may be replaced: the next connections use it. ``is_whole_start`` returns whether the first bytes of a
    connection without TLS are whole.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        serve: Callable[[Place], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None = None,
        places: int = HANDSHAKES_WAITING,
        is_whole_start: Callable[[bytes], bool] = is_whole_request,
    ) -> None:
        # For life.
        self.places: Final = places
        self.tls = tls
        self._sockets = sockets
        self._serve = serve
        self._is_whole_start = is_whole_start
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskOwner("connection gate")
        # While open.
        self._taken: dict[Place, None] = {}
        self._state = GateState.FULL
        self._retry: asyncio.TimerHandle | None = None
        # Checks that found the gate full since a peer was authenticated, with at least PLACE_CHECK_S between two.
        # Checks are counted and not time, because a loop that is late makes all peers late.
        self._full_checks = 0
        self._checked_at = 0.0
        self._accept_again()

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return len(self._taken)

    @property
    def is_scarce(self) -> bool:
        """Whether more than half of the places are taken."""
        return self.taken > self.places // 2

    def stop(self) -> None:
        """Stop listening."""
        if self._state is not GateState.CLOSED:
            self._pause(GateState.CLOSED)
            for sock in self._sockets:
                sock.close()

    async def close(self) -> None:
        """Stop listening, and drop all connections that have a place."""
        self.stop()
        for place in list(self._taken):
            place.drop()
        await self._tasks.close()

    # --- for places -------------------------------------------------------------------------------

    def is_whole(self, data: bytes) -> bool:
        """Return whether the first bytes of a connection are whole; the end of the connection is."""
        if not data:
            return True
        return is_whole_hello(data) if self.tls is not None else self._is_whole_start(data)

    def left(self, place: Place, *, known: bool) -> None:
        """Take a place back."""
        self._taken.pop(place, None)
        if known:
            self._full_checks = 0
        if self._state is GateState.FULL:
            self._accept_again()

    def open(self, place: Place, sock: socket.socket) -> asyncio.Task[None]:
        """Make the transport of a connection, after its TLS handshake if the port has TLS."""
        task = self._tasks.start(self._open(place, sock), name="open a connection")
        # It may be cancelled before it has begun.
        task.add_done_callback(lambda task: sock.close() if task.cancelled() else None)
        return task

    async def _open(self, place: Place, sock: socket.socket) -> None:
        limits: dict[str, Any] = {}
        if self.tls is not None:
            limits = {"ssl_handshake_timeout": HANDSHAKE_TIMEOUT_S, "ssl_shutdown_timeout": TLS_CLOSE_TIMEOUT_S}
        peer = address_of(sock)
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
        self._state = GateState.ACCEPTING
        for sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    def _pause(self, state: GateState, retry_s: float | None = None) -> None:
        """Accept no more; accept again after ``retry_s`` seconds if given."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._state is GateState.ACCEPTING:
            for sock in self._sockets:
                self._loop.remove_reader(sock)
        self._state = state
        if retry_s is not None:
            self._retry = self._loop.call_later(retry_s, self._accept_again)

    def _accept(self, listening: socket.socket) -> None:
        """Accept the connections that wait, as long as there are places."""
        if self.taken >= self.places:
            self._count_check()
            if (place := self._least_used()) is None:
                self._pause(GateState.FULL, PLACE_CHECK_S)
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
        """Accept one connection; return whether one has waited."""
        try:
            accepted = accept_one(listening)
        except ShortageError:
            self._pause(GateState.SHORT, ACCEPT_RETRY_S)
            return False
        if accepted is None:
            return False
        place = Place(self, accepted[0], self._loop.time())
        self._taken[place] = None
        place.start()
        return True

    def _least_used(self) -> Place | None:
        """Return the place of the connection that has to make room first, if one has to."""
        now = self._loop.time()
        stuck = self._full_checks >= PLACE_STUCK_CHECKS
        found = [
            (unused, place) for place in list(self._taken) if (unused := place.unused(now, stuck=stuck)) is not None
        ]
        return max(found, key=lambda each: each[0])[1] if found else None
