"""The place of one unauthenticated connection at the gate of its port."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from pagent.limits import (
    HANDSHAKE_TIMEOUT_S,
    PLACE_DRIP_S,
    PLACE_PARTIAL_S,
    PLACE_QUEUED_S,
    PLACE_SILENT_S,
    PLACE_UPLOAD_RATE,
)
from pagent.net.accept.first_flight import FIRST_FLIGHT_MAX
from pagent.net.accept.stages import STAGE_TRANSITIONS, Stage, StageInput
from pagent.net.accept.tcp_info import received
from pagent.net.authority import peer_text
from pagent.runtime.silence import SilenceTimer

_log = logging.getLogger(__name__)

#: Data that comes later than this after a step is no second segment of the data that made the step.
_SEGMENTS_S: Final = 0.25


class Unused(NamedTuple):
    """The seconds for which a connection has not used its place. ``certain``: no honest client does so."""

    certain: bool
    seconds: float


class Places(Protocol):
    """The gate, for a place."""

    @property
    def taken(self) -> int:
        """The number of places that are taken."""

    @property
    def is_scarce(self) -> bool:
        """Whether more than half of the places are taken."""

    def is_whole(self, data: bytes) -> bool:
        """Return whether the first bytes of a connection are whole."""

    def open(self, place: Place, sock: socket.socket) -> asyncio.Task[None]:
        """Make the transport of a connection."""

    def left(self, place: Place, *, known: bool) -> None:
        """Take a place back."""


class Place:
    """One connection that is counted. Its protocol reports its steps, and in the end calls :meth:`leave`."""

    def __init__(self, gate: Places, sock: socket.socket, now: float) -> None:
        # For life.
        self._gate = gate
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        # Until it leaves.
        self.stage = Stage.SILENT
        self._waits_since = now  # for the peer
        self._first_bytes = 0
        self._step_at = now
        self._step_bytes = 0  # bytes received at the last step
        self._paused = False
        self._expire: Callable[[], object] = self.drop
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer = SilenceTimer(HANDSHAKE_TIMEOUT_S, self._expired)

    # --- for the protocol -------------------------------------------------------------------------

    @property
    def is_scarce(self) -> bool:
        """Whether places are scarce: none should be kept for a request that may come."""
        return self._gate.is_scarce

    def opened(self, transport: asyncio.Transport) -> None:
        """Note that the protocol has the connection."""
        self._opening = None
        self._transport = transport
        self._enter(StageInput.OPENED)
        if self.stage is Stage.GONE:
            transport.abort()

    def heard(self) -> None:
        """Note that bytes were received from the peer, or sent to it: its silence begins now."""
        if self.stage is not Stage.ENDING:
            self._waits_since = self._loop.time()

    def answering(self) -> None:
        """Note that a whole request head has come."""
        self._enter(StageInput.REQUEST)

    def handed_over(self) -> None:
        """Note that the upgrade is answered, and that a link has the connection: its handshake is due."""
        self._enter(StageInput.NEXT)

    def restart(self) -> None:
        """Start the time limit anew, for the next request: this one is answered."""
        self._enter(StageInput.NEXT)
        self._timer.cancel()
        if self.stage is not Stage.GONE:
            self._timer = SilenceTimer(HANDSHAKE_TIMEOUT_S, self._expired)

    def ending(self) -> None:
        """Note that the peer has its last answer: data that it still sends is no reason to wait longer."""
        self._enter(StageInput.LAST)

    def paused(self, on: bool) -> None:
        """Note whether the peer is not read: data in its socket is no sign of life then."""
        self._paused = on

    def expires_with(self, expire: Callable[[], object]) -> None:
        """Call ``expire`` at the time limit instead of dropping the connection."""
        self._expire = expire

    def leave(self, *, known: bool = False) -> None:
        """Give the place back: the connection is closed, or its peer is authenticated (``known``)."""
        if self.stage is not Stage.GONE:
            self._enter(StageInput.LEAVE)
            self._timer.cancel()
            self._gate.left(self, known=known)

    # --- for the gate -----------------------------------------------------------------------------

    def start(self) -> None:
        """Wait for the first bytes."""
        self._loop.add_reader(self._socket, self._first_bytes_ready)

    def unused(self, now: float, *, stuck: bool) -> Unused | None:
        """Return the time for which the connection has not used its place; None if it need not make room.

        ``stuck``: no peer has got through for a while, so silence counts in all stages.
        """
        if self.stage is Stage.PARTIAL:
            self._check_first_bytes()  # the loop may be late, not the peer
            waited = now - self._step_at
            return Unused(True, waited) if self.stage is Stage.PARTIAL and waited >= PLACE_PARTIAL_S else None
        if self.stage is not Stage.SILENT and self._drips(now):
            return Unused(True, now - self._step_at)
        if self.stage in (Stage.OPENING, Stage.OPEN, Stage.ANSWERING) and not stuck:
            return None
        silence = self._silent_for(now)
        certain = self.stage in (Stage.SILENT, Stage.ENDING)
        return Unused(certain, silence) if silence >= PLACE_SILENT_S else None

    def make_room(self) -> None:
        """Close the connection to make room for others."""
        peer = address_of(self._socket)
        _log.warning(
            "%s: connection refused: %d unauthenticated connections are open (pagent help unauthenticated-connections)",
            peer,
            self._gate.taken,
        )
        self.drop()

    def drop(self) -> None:
        """Close the connection at once."""
        stage = self.stage
        self.leave()
        if stage in (Stage.SILENT, Stage.PARTIAL):
            self._loop.remove_reader(self._socket)
            self._socket.close()
        elif self._opening is not None:
            self._opening.cancel()
        elif self._transport is not None:
            self._transport.abort()

    # --- inside -----------------------------------------------------------------------------------

    def _enter(self, event: StageInput) -> None:
        """Set the stage; nothing else does."""
        before, self.stage = self.stage, STAGE_TRANSITIONS[self.stage][event]
        if self.stage is Stage.GONE or (self.stage is before and event is not StageInput.NEXT):
            return
        self._waits_since = self._step_at = self._loop.time()
        info = received(self._socket)
        self._step_bytes = info.bytes if info is not None else 0

    def _first_bytes_ready(self) -> None:
        """Check the first bytes: more of them have come, or their end."""
        self._check_first_bytes(ready=True)

    def _check_first_bytes(self, *, ready: bool = False) -> None:
        """Open the connection once its first bytes are whole; they stay in the socket until then."""
        try:
            data = self._socket.recv(FIRST_FLIGHT_MAX, socket.MSG_PEEK)
            ended = ready and len(data) == self._first_bytes
            if not ended and not self._gate.is_whole(data):
                # The socket is ready again when more than these bytes have come.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(data) + 1)
                self._first_bytes = len(data)
                self._enter(StageInput.PART)
                return
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        except BlockingIOError:
            return
        except OSError:
            self.drop()
            return
        self._loop.remove_reader(self._socket)
        self._enter(StageInput.WHOLE)
        self._opening = self._gate.open(self, self._socket)

    def _drips(self, now: float) -> bool:
        """Return whether the peer sends bytes that complete nothing.

        An honest peer sends the bytes of the next step in one piece, and the step follows at once. Only the body of a
        request takes longer, and is faster than ``PLACE_UPLOAD_RATE``.
        """
        age = now - self._step_at
        if age < PLACE_DRIP_S or self._paused or self._socket.fileno() < 0:
            return False
        info = received(self._socket)
        if info is None or age - info.silent_s < _SEGMENTS_S or _has_data(self._socket):
            return False
        count = info.bytes - self._step_bytes
        return count > 0 and (self.stage in (Stage.OPENING, Stage.OPEN) or count < PLACE_UPLOAD_RATE * age)

    def _silent_for(self, now: float) -> float:
        """Return the seconds for which the peer has sent nothing."""
        waited = now - self._waits_since
        if self.stage is Stage.ENDING or self._socket.fileno() < 0:
            return waited
        if not self._paused and _has_data(self._socket):
            return 0.0  # the loop is late, not the peer
        info = received(self._socket)
        if info is None:
            return waited
        if self.stage is Stage.SILENT:
            # Time in the kernel's queue counts, but for the slow start of a client.
            return max(waited, info.silent_s - PLACE_QUEUED_S)
        return min(waited, info.silent_s)

    def _expired(self) -> None:
        self._expire()


def address_of(sock: socket.socket) -> str:
    """Return ``host:port`` of the peer, for people."""
    try:
        return peer_text(sock.getpeername())
    except OSError:
        return "a peer that is gone"


def _has_data(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
