"""A connection to a job's port: the bytes of a loopback socket are pushed to its current user.

Back pressure is symmetrical: the user pauses reading when its stream cannot take more, and is notified when the job
does not read (:meth:`PortUser.port_blocked`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from pagent.buffers import Bytes
from pagent.limits import FLUSH_STALLED_S
from pagent.net.port import options
from pagent.net.port.reading import PortReader
from pagent.net.port.states import PORT_TRANSITIONS, PortInput, PortState
from pagent.net.port.user import PortUser
from pagent.net.port.writing import PortWriter
from pagent.net.read_budget import READ_BULK
from pagent.runtime.deferred import current_deferred
from pagent.runtime.silence import SilenceTimer


class PortConnection(asyncio.Protocol):
    """One connection to a job's port. ``user`` changes with each request that a kept connection serves.

    ``made`` is called once it is connected; a caller that awaits the connecting needs none. ``closed``: the user gets
    nothing more.

    :param resets: whether the other end reads a reset, not an end, if the connection ends without :meth:`close`. This
        is for tunnels, where the end means that all data has arrived. The kernel does it, also if this process is
        killed: closing a socket that lingers for no time drops unsent data and sends RST (socket(7), SO_LINGER).
    """

    __slots__ = (
        "_eof",
        "_made",
        "_open",
        "_reader",
        "_resets",
        "_resuming",
        "_state",
        "_tls",
        "_transport",
        "_writer",
        "closed",
        "user",
    )

    def __init__(self, user: PortUser, made: Callable[[], None] | None = None, *, resets: bool = False) -> None:
        # For one request or more.
        self.user = user
        # For life.
        self._made = made
        self._reader = PortReader()
        self._writer = PortWriter()
        self._resets = resets
        # While connected. The bools stand together: compiled, they are bytes, and each open WebSocket has a connection.
        self._open = False
        self.closed = False
        self._tls = False
        self._eof = False
        self._resuming = False  # within resume_writing
        self._state = PortState.CONNECTING
        self._transport: asyncio.Transport | None = None

    # --- the transport's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._enter(PortInput.CONNECTED)
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class is not derived from it
        if self.closed:
            self._transport.abort()
            return
        self._tls = transport.get_extra_info("sslcontext") is not None
        self._writer.open(self._transport)
        self._reader.open(self._transport)
        options.limit_receive_buffer(transport)
        if self._resets:
            options.set_linger(transport, options.RESET)
        if self._made is not None:
            self._made()

    def data_received(self, data: bytes) -> None:
        if len(data) < READ_BULK:
            self.user.port_data(data)
        else:
            self._reader.bulk(self.user, data)

    def eof_received(self) -> bool:
        if not self._eof:  # the loop meets it again each time that reading is resumed
            self._eof = True
            self.user.port_eof()
        return not self._tls  # our direction stays open, and the user decides when to end it; TLS has no half-close

    def pause_writing(self) -> None:
        self._writer.pause()
        if not self.closed:
            self.user.port_blocked()

    def resume_writing(self) -> None:
        self._writer.resume()
        if not self.closed:
            self._resuming = True
            try:
                self.user.port_writable()
            finally:
                self._resuming = False

    def connection_lost(self, exc: Exception | None) -> None:
        rest: deque[bytes] = deque()
        if self._open and exc is not None and not self._tls and self._transport is not None:
            rest = options.read_rest(self._transport)
        self._enter(PortInput.LOST)
        self._transport = None  # the transport of asyncio's own loop fails at a later abort
        self._reader.close()
        self._writer.close()
        if self._state is PortState.ENDING:
            self._deliver(rest, exc)

    # --- the user's side --------------------------------------------------------------------------

    @property
    def state(self) -> PortState:
        return self._state

    @property
    def blocked(self) -> bool:
        """Whether the other end does not read: nothing more should be written."""
        return self._writer.blocked

    @property
    def unsent_bytes(self) -> int:
        """Bytes in the transport's buffer."""
        return self._writer.unsent_bytes

    def write(self, data: Bytes) -> None:
        """Write ``data``; it is dropped unless the connection is open."""
        if self._open:
            self._writer.write(data)

    def writelines(self, parts: list[Bytes]) -> None:
        """Write several parts as :meth:`write` does."""
        if self._open:
            self._writer.writelines(parts)

    def write_eof(self) -> None:
        """End our direction after the written data."""
        if not self._open or self._transport is None:
            return
        self._writer.flush()
        if not self._tls:  # TLS has no half-close: the job's end will end both directions
            # A job has reset the connection: asyncio's own loop raises that here, and reports it at its next read.
            with suppress(OSError):
                self._transport.write_eof()

    def defer(self, work: Callable[[], None], done: int) -> None:
        """Call ``work`` in a later loop iteration, for the rest of the data that was read.

        Nothing is read, and no end reported, before. ``done``: see :meth:`DeferredWork.defer`.
        """
        self._reader.defer(work, done)

    def pause_reading(self) -> None:
        self._reader.pause()

    def resume_reading(self) -> None:
        self._reader.unpause()

    def close(self) -> None:
        """Flush and close; the user gets nothing more."""
        was_open = self._open
        self._writer.flush()
        self._enter(PortInput.CLOSE)
        if not was_open or self._transport is None:
            return
        self._reader.close()
        if self._resets:
            options.set_linger(self._transport, options.FLUSH)
        if self._resuming:  # the transport of asyncio's own loop would close itself twice
            asyncio.get_running_loop().call_soon(self._transport.close)
        else:
            self._transport.close()
        if not self._tls:  # the transport of TLS has its own time limit
            self._await_flush()

    def abort(self) -> None:
        """Drop the connection at once; the user gets nothing more."""
        self._enter(PortInput.ABORT)
        self._reader.close()
        if self._transport is not None:
            self._transport.abort()

    def reset_unless_closed(self) -> None:
        """Let the other end read a reset from now on, as with ``resets``, unless :meth:`close` ends the connection."""
        self._resets = True
        if self._transport is not None:
            options.set_linger(self._transport, options.RESET)

    def info(self, name: str) -> Any:
        """Return a property of the connection from its transport (``asyncio.BaseTransport.get_extra_info``)."""
        return None if self._transport is None else self._transport.get_extra_info(name)

    def hand_over(self, protocol: asyncio.Protocol, received: bytes) -> None:
        """Give the connection to another protocol, with bytes that were received; the user gets nothing more."""
        transport = self._transport if self._open else None
        self._enter(PortInput.HAND_OVER)
        if transport is None:
            return
        self._transport = None
        reads = self._reader.reads
        self._reader.close()
        self._writer.close()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if not reads:
            transport.resume_reading()
        protocol.data_received(received)

    def has_failed(self) -> bool:
        """Return whether the kernel knows that the connection has broken; the loop meets that at its next write."""
        return self._open and self._transport is not None and options.has_error(self._transport)

    def is_stale(self) -> bool:
        """Return whether the job has ended, or sent something on, a connection that should be idle."""
        if not self._open or self._transport is None or self._transport.is_closing():
            return True
        return options.is_readable(self._transport)

    # --- the end ----------------------------------------------------------------------------------

    def _enter(self, event: PortInput) -> None:
        """Set the state; nothing else does."""
        self._state = PORT_TRANSITIONS[self._state][event]
        self._open = self._state is PortState.OPEN
        self.closed = self._state is PortState.FLUSHING or self._state is PortState.CLOSED

    def _deliver(self, rest: deque[bytes], exc: Exception | None) -> None:
        """Report the end to the user, after all data that came before it."""
        while not self.closed and not self._reader.waits and rest:
            self.user.port_data(rest.popleft())
        if self.closed:
            return
        if self._reader.waits:
            current_deferred().defer(partial(self._deliver, rest, exc), 0)
            return
        self._enter(PortInput.DELIVERED)
        self.user.port_lost(exc)

    def _await_flush(self) -> None:
        if left := self._writer.unsent_bytes:
            SilenceTimer(FLUSH_STALLED_S, self._check_flush, left)

    def _check_flush(self, before: int) -> None:
        """Give up unsent data of which the job has taken nothing since the last check."""
        if self._transport is None or self._writer.unsent_bytes < before:
            self._await_flush()
            return
        if self._resets:
            options.set_linger(self._transport, options.RESET)
        self.abort()
