"""A link: WebSocket messages on a transport (docs/protocol.rst, "Transport").

The link has the states and the closing handshake. Received bytes go through :mod:`pagent.net.link.receiving` to its
owner, and sent messages through :mod:`pagent.net.link.sending`.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, cast

from pagent.buffers import Bytes
from pagent.errors import LinkClosedError, ProtocolError
from pagent.limits import CLOSE_TIMEOUT_S
from pagent.net.authority import peer_text
from pagent.net.link.liveness import Liveness
from pagent.net.link.owner import LinkOwner
from pagent.net.link.pacer import Pacer
from pagent.net.link.read_gate import ReadGate
from pagent.net.link.receiving import LinkReceiver
from pagent.net.link.round_trip import RoundTrip
from pagent.net.link.sending import LinkSender
from pagent.net.link.states import LINK_TRANSITIONS, LIVE_STATES, LinkInput, LinkState
from pagent.runtime.memory import current_memory
from pagent.wire import frames
from pagent.wire.closing import UNSUPPORTED_DATA

_log = logging.getLogger(__name__)


class Link(asyncio.BufferedProtocol):
    """One end of a link. ``dialled``: this end has dialled, so it masks its frames (RFC 6455 section 5.1).

    Until :meth:`accept_peer` the bounds of an unauthenticated peer hold. ``closed`` is done once the link is lost.
    ``memory`` counts the bytes that the streams of the link keep.
    """

    def __init__(self, owner: LinkOwner, *, dialled: bool) -> None:
        # For life.
        self.dialled = dialled
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.memory = current_memory()
        self._reading = ReadGate()
        self._receiver = LinkReceiver(owner, self._reading, self._control_frame, self._fault, masked=not dialled)
        self._sender = LinkSender(owner, self._reading, masks=dialled)
        self._round_trip = RoundTrip(self._loop.time)
        self.closed: asyncio.Future[LinkClosedError] = self._loop.create_future()
        # While connected.
        self._state = LinkState.NEW
        self._transport: asyncio.Transport | None = None
        self._liveness: Liveness | None = None
        # While it closes.
        self._close_timer: asyncio.TimerHandle | None = None
        self._error: LinkClosedError | None = None

    # --- the transport's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._enter(LinkInput.CONNECTED)
        self._transport = cast(asyncio.Transport, transport)
        self._reading.open(self._transport, self.peer_address)
        self._sender.open(self._transport)
        self._liveness = Liveness(self._transport, self._receiver, self.ping, self._lost)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._receiver.space()

    def buffer_updated(self, nbytes: int) -> None:
        self._receiver.received(nbytes)

    def data_received(self, data: bytes) -> None:
        """Handle bytes that were read before the link had the connection."""
        self._receiver.feed(data)

    def eof_received(self) -> None:
        self._lost("the peer ended the connection")

    def pause_writing(self) -> None:
        self._sender.pause()

    def resume_writing(self) -> None:
        self._sender.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        # No abort: the transport of asyncio's own loop fails if a close has just flushed its buffer.
        self._lost(str(exc) if exc else "the connection was lost", gone=True)
        self._receiver.close()

    # --- the owner's side -------------------------------------------------------------------------

    @property
    def state(self) -> LinkState:
        return self._state

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._sender.live

    @property
    def blocked(self) -> bool:
        """Whether the transport's buffer is full: data that can wait should."""
        return self._sender.blocked

    @property
    def pacer(self) -> Pacer:
        return self._sender.pacer

    @property
    def peer_address(self) -> str:
        """``host:port`` of the other end, for people."""
        return peer_text(self._transport.get_extra_info("peername") if self._transport else None)

    @property
    def unsent_bytes(self) -> int:
        """Bytes in the transport's buffer."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def has_unhandled_input(self) -> bool:
        """Whether received messages wait for the next loop iteration."""
        return self._receiver.pending

    @property
    def paused_by(self) -> frozenset[str]:
        """The owners that pause the reading now."""
        return self._reading.owners

    def accept_peer(self) -> None:
        """Accept the peer: its messages may be long from now on."""
        self._enter(LinkInput.ACCEPTED)
        self._receiver.accept()
        self._sender.accept()

    def send(self, message: bytes) -> None:
        """Send one small message; it is dropped if the link is closing."""
        if self._sender.live:
            self._sender.send(message)

    def send_parts(self, stream_id: int, header: bytes, payload: Bytes) -> None:
        """Send one message of two parts; a large payload that is not masked is not copied."""
        if self._sender.live:
            self._sender.send_parts(stream_id, header, payload)

    def ping(self) -> None:
        """Send a ping; its answer measures the round trip."""
        if self._sender.live:
            self._round_trip.begin()
            self._sender.control(frames.PING, b"")

    def clock(self) -> tuple[float, float]:
        """Return the time now, and the shortest recent round trip (0: not known), both in seconds."""
        return self._loop.time(), self._round_trip.shortest_s

    def pause_reading(self, owner: str) -> None:
        """Read nothing until each owner that has paused the reading resumes it; each bounds its pauses itself."""
        self._reading.pause(owner)

    def resume_reading(self, owner: str) -> None:
        """End the pause of ``owner``, if it has one."""
        self._reading.resume(owner)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Start the closing handshake (RFC 6455 section 7.1.2); the owner loses the link at once."""
        self._start_close(LinkInput.CLOSE, code, reason, LinkClosedError(code, reason))

    def fail(self, error: ProtocolError) -> None:
        """Close because of a fault of the peer, and discard its further data.

        A socket that is closed while data arrives is reset, and the reset can overtake the close frame. So the end of
        an accepted peer's data is awaited, for at most ``CLOSE_TIMEOUT_S``.
        """
        self._start_close(LinkInput.FAULT, error.code, str(error), LinkClosedError(error.code, str(error)))
        if self._transport is None or self._transport.is_closing():
            return
        if not self._receiver.accepted:
            self._close_transport()
        elif self._transport.can_write_eof():
            # The transport of asyncio's own loop raises the fault of the connection here, and reports it on its next
            # read as well.
            with suppress(OSError):
                self._transport.write_eof()

    def abort(self, reason: str) -> None:
        """Drop the connection without a closing handshake."""
        self._lost(reason)

    # --- frames that are not messages -------------------------------------------------------------

    def _control_frame(self, opcode: int, payload: Any) -> None:
        if opcode == frames.CLOSE:
            self._closed_by_peer(*payload)
        elif opcode == frames.TEXT:
            if self._sender.live:
                raise ProtocolError("a text message on a link", UNSUPPORTED_DATA)
        elif not self._receiver.accepted:
            return  # not answered (docs/contract.rst, "Access")
        elif opcode == frames.PING:
            if self._sender.live:
                self._sender.control(frames.PONG, payload)
        elif payload:
            self._sender.pacer.answered(bytes(payload))
        else:
            self._round_trip.end()

    def _closed_by_peer(self, code: int, reason: str) -> None:
        error = LinkClosedError(code, reason or "closed by the peer")
        self._start_close(LinkInput.PEER_CLOSED, code, "", error)
        if self._transport is not None:
            self._sender.flush()
            self._close_transport()

    def _fault(self, error: ProtocolError) -> None:
        _log.warning("%s: closed with %d: %s", self.peer_address, error.code, error)
        self.fail(error)

    # --- states -----------------------------------------------------------------------------------

    def _enter(self, event: LinkInput) -> None:
        """Set the state; nothing else does."""
        self._state = LINK_TRANSITIONS[self._state][event]
        live = self._state in LIVE_STATES
        self._sender.live = self._receiver.delivers = live
        self._receiver.discards = self._state is LinkState.FAILED or self._state is LinkState.CLOSED

    def _start_close(self, event: LinkInput, code: int, reason: str, error: LinkClosedError) -> None:
        """Send our close frame, unless it is sent already; the owner loses the link now."""
        was_live = self._sender.live
        self._enter(event)
        if not was_live:
            if self._state is LinkState.CLOSED and not self.closed.done():  # it never had a connection
                self.closed.set_result(error)
            return
        self._error = error
        self._sender.control(frames.CLOSE, frames.close_payload(code, reason))
        self._sender.flush()
        # Also if the peer has closed first: it may never read the data that is still unsent.
        self._close_timer = self._loop.call_later(CLOSE_TIMEOUT_S, self._lost, "the peer did not answer the close")
        self._owner.link_lost(error)

    def _close_transport(self) -> None:
        """Flush and close after this callback: with TLS, neither loop can close a transport within a read."""
        assert self._transport is not None
        self._loop.call_soon(self._transport.close)

    def _lost(self, reason: str, *, gone: bool = False) -> None:
        if self._state is LinkState.CLOSED:
            return
        was_live = self._sender.live
        self._enter(LinkInput.LOST)
        self._stop()
        if self._transport is not None and not gone:
            self._transport.abort()
        error = self._error or LinkClosedError(1006, reason)
        if was_live:
            self._owner.link_lost(error)
        if not self.closed.done():
            self.closed.set_result(error)

    def _stop(self) -> None:
        """Stop all that runs for a connection."""
        self._reading.close()
        self._sender.pacer.stop()
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._liveness is not None:
            self._liveness.stop()
