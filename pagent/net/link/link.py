"""A link: WebSocket messages on a transport (docs/protocol.rst, "Transport").

Everything is a push. What the socket delivers goes through the frame decoder to the owner before the callback
returns; what is sent within one turn of the loop is gathered and written once at its end, or before if there is seldom
more. The owner is told when the transport's buffer is full (:meth:`LinkOwner.link_blocked`) and when it has room again:
until then it should keep its data, since what lies in that buffer can no longer be overtaken.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from pagent.buffers import JOIN_MAX, Bytes, joined
from pagent.errors import LinkClosedError, ProtocolError
from pagent.limits import (
    ANSWERS_MAX,
    CLOSE_TIMEOUT_S,
    FRAMES_AT_ONCE,
    HANDSHAKE_FRAMES,
    HANDSHAKE_MAX,
    LINK_FREE,
    LINK_HIGH_WATER,
    LINK_LOW_WATER,
    MESSAGE_MAX,
)
from pagent.net.link.batch import WriteBatch
from pagent.net.link.liveness import Liveness
from pagent.net.link.owner import LinkOwner
from pagent.net.link.pacer import Pacer
from pagent.net.link.receive_buffers import current_receive_buffers
from pagent.net.link.round_trip import RoundTrip
from pagent.net.read_budget import current_budget
from pagent.runtime.memory import Held, current_memory
from pagent.runtime.timeslice import current_slice
from pagent.wire import frames

_log = logging.getLogger(__name__)


class State(enum.Enum):
    NEW = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()  # our close frame is out
    CLOSED = enum.auto()


# An Enum's members cost three times as much to reach, and every message asks.
_OPEN: Final = State.OPEN
_binary_frame: Final = frames.binary_frame
# Owners of a pause of reading.
_BUDGET: Final = "read budget"
_REST: Final = "messages left to handle"
_UNREAD: Final = "unread answers"


def _nothing(_: Any) -> list[tuple[int, Any]]:
    """Decode nothing: messages are left from before."""
    return []


class Link(asyncio.BufferedProtocol):
    """One end of a link. ``dialled`` says which: the dialling end masks its frames (RFC 6455 section 5.1).

    Until :meth:`accept_peer` a message may not be longer than what a stranger can make us hold.
    """

    def __init__(self, owner: LinkOwner, *, dialled: bool) -> None:
        # For life.
        self.dialled = dialled
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._slice = current_slice()
        self._memory = current_memory()
        self._unfinished = Held(self._memory)
        self._accepted = False
        self._strange = 0  # frames of a peer that is not accepted
        self._decoder = frames.FrameDecoder(masked=not dialled, max_message=HANDSHAKE_MAX)
        self._decoder.at_once = 1  # what is behind the handshake comes from a peer that is accepted
        self.closed: asyncio.Future[LinkClosedError] = self._loop.create_future()
        self._buffers = current_receive_buffers()
        self._space = memoryview(bytearray(HANDSHAKE_MAX))  # where to receive: its own until the peer is accepted
        self._rest: list[tuple[int, Any]] = []  # decoded, and left for the next iteration
        self._direct = False  # whether what is being received goes to the decoder's own place
        # While connected.
        self._state = State.NEW
        self._transport: asyncio.Transport | None = None
        self._budget = current_budget()
        self._liveness: Liveness | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._error: LinkClosedError | None = None
        self._batch = WriteBatch(self._write_out)
        self.blocked = False
        self.pacer = Pacer(self._resume_bulk)
        self._round_trip = RoundTrip(self._loop.time)
        # Owners that have paused the reading.
        self._pauses: set[str] = set()
        self._deaf = False  # what the peer still sends is thrown away

    # --- the transport's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._state = _OPEN
        self._transport.set_write_buffer_limits(high=HANDSHAKE_MAX // 2, low=0)
        self._liveness = Liveness(self._transport, self.ping, self._lost)

    def get_buffer(self, sizehint: int) -> memoryview:
        space = None if self._deaf else self._decoder.space()
        self._direct = space is not None
        if space is not None:
            return space
        if self._accepted:
            self._space = self._buffers.space()
        return self._space

    def buffer_updated(self, nbytes: int) -> None:
        if self._direct:
            self._received(self._decoder.filled, nbytes)
        elif self._accepted and self._buffers.lends(nbytes):
            self._received(self._lent, nbytes)
        else:
            self._received(self._decoder.feed, self._space[:nbytes])
        if self._budget.spend(nbytes, self):
            self.pause_reading(_BUDGET)

    def _lent(self, nbytes: int) -> list[tuple[int, Any]]:
        return self._decoder.feed(self._space[:nbytes], lend=True)

    def resume(self) -> None:
        self.resume_reading(_BUDGET)

    def data_received(self, data: bytes) -> None:
        """Bytes that somebody else has read from the socket."""
        self._received(self._decoder.feed, data)

    def _received(self, decode: Callable[[Any], list[tuple[int, Any]]], what: Bytes | int) -> None:
        if self._liveness is not None:
            self._liveness.heard = True
        if self._deaf:
            return
        try:
            messages = decode(what)
            if self._rest:
                messages, self._rest = self._rest + messages, []
            self._deal_with(messages)
            if not self._rest:
                self._decoder.check()
            self._unfinished.set(self._decoder.held)
            if self._unfinished.bytes > LINK_FREE and self._memory.is_full:
                raise ProtocolError("no memory is left for a message of this size (proxy.memory_max)", 1009)
            if not self._accepted and (messages or self._decoder.more):
                self._strange += 1
                if self._strange > HANDSHAKE_FRAMES:
                    raise ProtocolError("too many frames before the handshake", 1008)
        except ProtocolError as error:
            _log.warning("%s: closed with %d: %s", self.peer_address, error.code, error)
            self.fail(error)
            return
        if self._decoder.more or self._rest:
            self.pause_reading(_REST)
            self._loop.call_soon(self._receive_more)  # not in turn with the jobs' floods: a link is everybody's

    def _deal_with(self, messages: list[tuple[int, Any]]) -> None:
        """Hand messages to the owner as long as the time slice lasts, at least one; keep the rest."""
        last = len(messages) - 1
        for index, (opcode, payload) in enumerate(messages):
            if opcode == frames.BINARY:
                if self._state is _OPEN:
                    self._owner.link_message(payload)
            else:
                self._other(opcode, payload)
            if index < last and self._slice.is_over():
                self._rest = messages[index + 1 :]
                return

    def _receive_more(self) -> None:
        self.resume_reading(_REST)
        self._received(_nothing if self._rest else self._decoder.feed, b"")

    def eof_received(self) -> None:
        self._lost("the peer ended the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        # asyncio's own loop trips over an abort now, if a close has just flushed its buffer.
        self._lost(str(exc) if exc else "the connection was lost", gone=True)
        # Nothing comes any more; it may take long until the garbage collector finds a link.
        self._space = memoryview(b"")
        self._decoder = frames.FrameDecoder(masked=not self.dialled, max_message=0)
        self._unfinished.set(0)

    def pause_writing(self) -> None:
        self.blocked = True
        self._owner.link_blocked()
        self._look_at_unread()

    def resume_writing(self) -> None:
        self.blocked = False
        self.resume_reading(_UNREAD)
        if self._state is _OPEN:
            self._owner.link_writable()

    # --- the owner's side -------------------------------------------------------------------------

    @property
    def peer_address(self) -> str:
        """``host:port`` of the other end, for people."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "unknown"

    @property
    def is_open(self) -> bool:
        return self._state is _OPEN

    def accept_peer(self) -> None:
        """The peer is who it should be: its messages may be long from now on."""
        self._decoder.max_message = MESSAGE_MAX
        self._decoder.at_once = FRAMES_AT_ONCE
        self._decoder.direct = True
        self._accepted = True
        assert self._transport is not None
        self._transport.set_write_buffer_limits(high=LINK_HIGH_WATER, low=LINK_LOW_WATER)

    def send(self, message: bytes) -> None:
        """Send one small message; dropped if the link is closing."""
        if self._state is not _OPEN:
            return
        if self.dialled:
            self._batch.put(frames.masked_frame(frames.BINARY, message))
        else:
            self._batch.put(_binary_frame(message, b""))

    def send_parts(self, stream_id: int, header: bytes, payload: Bytes) -> None:
        """Send one message of two parts; the payload is not copied if it is large and need not be masked."""
        if self._state is not _OPEN:
            return
        size = len(payload)
        if self.dialled:
            self._batch.put(frames.masked_frame(frames.BINARY, header, payload))
        elif size <= JOIN_MAX:
            self._batch.put(_binary_frame(header, payload))
        else:
            self._batch.put_with_heads((frames.frame_header(frames.BINARY, len(header) + size), header), payload)
        if size > JOIN_MAX and (mark := self.pacer.sent(stream_id, size)) is not None:
            self._control(frames.PING, mark)

    def ping(self) -> None:
        """Send a ping; its answer tells how long the way there and back is."""
        if self._state is _OPEN:
            self._round_trip.begin()
            self._control(frames.PING, b"")

    def clock(self) -> tuple[float, float]:
        """The time now, and the shortest round trip of late; 0 if none is known. Seconds."""
        return self._loop.time(), self._round_trip.shortest_s

    @property
    def paused_by(self) -> frozenset[str]:
        """The owners of the pauses of reading that are under way."""
        return frozenset(self._pauses)

    def pause_reading(self, owner: str) -> None:
        """Read nothing until each ``owner`` that paused has resumed; each bounds the time by itself."""
        if owner in self._pauses:
            return
        self._pauses.add(owner)
        if len(self._pauses) == 1 and self._transport is not None and self._state is not State.CLOSED:
            self._log_pause("paused", owner)
            self._transport.pause_reading()

    def resume_reading(self, owner: str) -> None:
        """End the pause of ``owner``, if it has one."""
        if owner not in self._pauses:
            return
        self._pauses.remove(owner)
        if not self._pauses and self._transport is not None and self._state is not State.CLOSED:
            self._log_pause("resumed", owner)
            self._transport.resume_reading()

    def _log_pause(self, what: str, owner: str) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: reading is %s by %s", self.peer_address, what, owner)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Start the closing handshake (RFC 6455 section 7.1.2); the link is lost to its owner at once."""
        if self._state is _OPEN:
            self._start_close(code, reason)
            self._owner.link_lost(self._error or LinkClosedError(code, reason))

    def abort(self, reason: str) -> None:
        """Drop the connection without a word."""
        self._lost(reason)

    # --- inside -----------------------------------------------------------------------------------

    def _write_out(self, out: list[Bytes], large: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if large:
            self._transport.writelines(joined(out))
        else:
            self._transport.write(b"".join(out) if len(out) > 1 else out[0])
        if self.blocked:
            self._look_at_unread()

    def _look_at_unread(self) -> None:
        """Answers (results, pongs) do not wait as streams do: a peer that does not read them is not read either."""
        assert self._transport is not None
        if self._transport.get_write_buffer_size() > (ANSWERS_MAX if self._accepted else 0):
            self.pause_reading(_UNREAD)

    def _control(self, opcode: int, payload: Bytes) -> None:
        if self.dialled:
            self._batch.put(frames.masked_frame(opcode, payload))
        else:
            self._batch.put(frames.frame_header(opcode, len(payload)) + payload)

    def _other(self, opcode: int, payload: Any) -> None:
        if not self._accepted and opcode in (frames.PING, frames.PONG):
            return  # not answered (docs/contract.rst, "Access")
        if opcode == frames.PING:
            if self._state is _OPEN:
                self._control(frames.PONG, payload)
        elif opcode == frames.PONG:
            if payload:
                self.pacer.answered(bytes(payload))
            else:
                self._round_trip.end()
        elif opcode == frames.CLOSE:
            self._closed_by_peer(*payload)
        elif opcode == frames.TEXT and self._state is _OPEN:
            raise ProtocolError("a text message on a link", 1003)

    def _resume_bulk(self) -> None:
        if not self.blocked and self._state is _OPEN:
            self._owner.link_writable()

    def _closed_by_peer(self, code: int, reason: str) -> None:
        if self._state is _OPEN:
            self._error = LinkClosedError(code, reason or "closed by the peer")
            self._start_close(code, "")
            self._owner.link_lost(self._error)
        if self._transport is not None:
            self._batch.flush()
            self._close_transport(self._transport)

    def _start_close(self, code: int, reason: str) -> None:
        self._control(frames.CLOSE, frames.close_payload(code, reason))
        self._state = State.CLOSING
        self._batch.flush()
        # Also where the peer has closed first: what is still to be flushed may meet a peer that reads no more.
        self._close_timer = self._loop.call_later(CLOSE_TIMEOUT_S, self._lost, "the peer did not answer the close")

    def fail(self, error: ProtocolError) -> None:
        """Close because of what the peer did, or did not do; nothing more of it is wanted.

        A socket that is closed while data comes in is reset, and the reset can overtake the close frame: so the end of
        what a known peer sends is waited for, for a moment.
        """
        self._deaf = True
        if self._state is _OPEN:
            self._error = LinkClosedError(error.code, str(error))
            self._start_close(error.code, str(error))
            self._owner.link_lost(self._error)
        if self._transport is None or self._transport.is_closing():
            return
        if not self._accepted:
            self._close_transport(self._transport)
        elif self._transport.can_write_eof():
            # asyncio's own loop raises here what the connection has met, and tells it when it reads next.
            with suppress(OSError):
                self._transport.write_eof()

    def _close_transport(self, transport: asyncio.Transport) -> None:
        """Flush and close, once what was received has been dealt with: TLS of either loop trips over a close within."""
        self._loop.call_soon(transport.close)

    def _lost(self, reason: str, *, gone: bool = False) -> None:
        if self._state is State.CLOSED:
            return
        was_open = self._state is _OPEN
        self._state = State.CLOSED
        if self._close_timer is not None:
            self._close_timer.cancel()
        self.pacer.stop()
        if self._liveness is not None:
            self._liveness.stop()
        if self._transport is not None and not gone:
            self._transport.abort()
        error = self._error or LinkClosedError(1006, reason)
        if was_open:
            self._owner.link_lost(error)
        if not self.closed.done():
            self.closed.set_result(error)
