"""A connection to a job's port: bytes of a loopback socket pushed to whoever uses it at the time.

Back pressure is symmetrical: the user pauses reading when its stream cannot take more, and is told when the job does
not read (:meth:`PortUser.port_blocked`).
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

from pagent.buffers import Bytes
from pagent.limits import FLUSH_STALLED_S, KIB, PORT_HIGH_WATER, PORT_LOW_WATER
from pagent.net.link.buffer_pool import RECEIVE_BUFFER
from pagent.net.port.user import PortUser
from pagent.net.read_budget import READ_BULK, current_budget
from pagent.runtime.deferred import current_deferred
from pagent.runtime.memory import Held, current_memory

#: Bytes of a job that the kernel keeps until they are read. By default it keeps megabytes: a job writes them without a
#: pause while others on its core wait, and they have left the caches when they are read.
PORT_RECEIVE: Final = 256 * KIB


#: Writes from this size on wait for the others of their turn of the loop, to be one system call with them.
_GATHER_FROM: Final = 8 * 1024
#: Values of SO_LINGER: a close drops what is unsent and resets the connection; it is sent in the background.
_RESET: Final = struct.pack("ii", 1, 0)
_FLUSH: Final = struct.pack("ii", 0, 0)


class PortConnection(asyncio.Protocol):
    """One connection to a job's port. ``user`` changes with each request that a kept connection serves.

    ``made`` is called once it is connected; a caller that awaits the connecting needs none.

    :param resets: whether the other end reads a reset, not an end, wherever the connection goes without :meth:`close`:
        for tunnels, where the end means that all has arrived. The kernel does it, also if this process is killed:
        closing a socket that lingers for no time drops what is unsent and sends RST (socket(7), SO_LINGER).
    """

    __slots__ = (
        "_budget",
        "_deferred",
        "_eof",
        "_flush_due",
        "_last_write",
        "_made",
        "_memory",
        "_out",
        "_out_bytes",
        "_paused",
        "_reading",
        "_resets",
        "_resuming",
        "_tight",
        "_tls",
        "_transport",
        "_unsent",
        "_waits",
        "blocked",
        "closed",
        "user",
    )

    def __init__(self, user: PortUser, made: Callable[[], None] | None = None, *, resets: bool = False) -> None:
        self.user = user
        self._made = made
        self._resets = resets
        self._transport: asyncio.Transport | None = None
        self._out: list[Bytes] = []
        self._out_bytes = 0
        self._flush_due = False
        self._budget = current_budget()
        self._deferred = current_deferred()
        self._paused = False  # by the user
        self._waits = 0  # reasons to wait for the next turn
        self._reading = True
        self._eof = False
        self._resuming = False  # within resume_writing
        self._memory = current_memory()
        self._unsent = Held(self._memory)
        self._last_write = 0
        self._tight = False
        self._tls = False
        self.blocked = False
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._tls = transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=PORT_HIGH_WATER, low=PORT_LOW_WATER)
        self._receive_at_most(PORT_RECEIVE)
        if self._resets:
            self._linger(_RESET)
        if self._made is not None:
            self._made()

    def data_received(self, data: bytes) -> None:
        self.user.port_data(data)
        if len(data) >= READ_BULK and not self._waits and self._budget.spend(len(data), self):
            self._waits += 1
            self._apply()

    def _socket(self) -> Any:
        """None for a transport in memory."""
        assert self._transport is not None
        return self._transport.get_extra_info("socket")

    def _receive_at_most(self, size: int) -> None:
        if (end := self._socket()) is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def _linger(self, how: bytes) -> None:
        # The connection may be gone already; uvloop's transport has a descriptor below 0 then.
        with suppress(OSError, ValueError):
            if self._transport is not None and (end := self._socket()) is not None:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)

    def resume(self) -> None:
        self._waits -= 1
        self._apply()

    def defer(self, work: Callable[[], None], done: int) -> None:
        """Call ``work`` in a later turn, for what is left of what was read; nothing is read, and no end told, before.

        ``done``: see :meth:`DeferredWork.defer`.
        """
        self._waits += 1
        self._apply()
        self._deferred.defer(partial(self._work, work), done)

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self.resume()

    def _apply(self) -> None:
        """Read, or do not, as the user and the turn have it."""
        reading = not (self._paused or self._waits)
        if reading is not self._reading and self._transport is not None and not self.closed:
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        if not self._eof:  # the loop meets it again each time that reading is resumed
            self._eof = True
            self.user.port_eof()
        return not self._tls  # keep our direction: half-close is the user's to decide, except in TLS, which has none

    def pause_writing(self) -> None:
        self.blocked = True
        if self._transport is not None:
            # A transport keeps all buffers of a write until the kernel has taken the last of them.
            self._unsent.set(max(self._transport.get_write_buffer_size(), self._last_write))
        if not self.closed:
            self.user.port_blocked()

    def resume_writing(self) -> None:
        self.blocked = False
        self._unsent.set(0)
        if not self.closed:
            self._resuming = True
            try:
                self.user.port_writable()
            finally:
                self._resuming = False

    def connection_lost(self, exc: Exception | None) -> None:
        readable = exc is not None and not self.closed and not self._tls
        rest: deque[bytes] = self._read_rest() if readable else deque()
        self._transport = None  # asyncio's own trips over an abort that comes later
        self._unsent.set(0)
        self._lose(rest, exc)

    def _read_rest(self) -> deque[bytes]:
        """What the job said before a write to it failed.

        A job that answers without reading all of a body and closes resets the connection; the loop then gives it up at
        the first failed write, with the answer still in the kernel (RFC 9112 9.6 warns servers of this).
        """
        descriptor = self._socket().fileno()
        rest: deque[bytes] = deque()
        try:
            while data := os.read(descriptor, PORT_RECEIVE):
                rest.append(data)
        except OSError:
            pass  # nothing more, or the reset itself
        return rest

    def _lose(self, rest: deque[bytes], exc: Exception | None) -> None:
        """Tell the user of the end, once it has worked up all that came before."""
        while not self.closed and not self._waits and rest:
            self.user.port_data(rest.popleft())
        if self.closed:
            return
        if self._waits:
            self._deferred.defer(partial(self._lose, rest, exc), 0)
            return
        self.closed = True
        self.user.port_lost(exc)

    def write(self, data: Bytes) -> None:
        if self._transport is None or self.closed:
            return
        if self._memory.is_full:
            self._tighten(self._transport)
        if self._out_bytes == 0 and len(data) < _GATHER_FROM:
            self._transport.write(data)
        else:
            self._out.append(data)
            self._gathered(len(data))

    def writelines(self, parts: list[Bytes]) -> None:
        if self._transport is None or self.closed:
            return
        if self._memory.is_full:
            self._tighten(self._transport)
        length = sum([len(part) for part in parts])
        if self._out_bytes == 0 and length < _GATHER_FROM:
            self._transport.write(b"".join(parts))
        else:
            self._out += parts
            self._gathered(length)

    def _tighten(self, transport: asyncio.Transport) -> None:
        """Memory is short: count whatever the kernel does not take, and take no more until it has."""
        if not self._tight:
            self._tight = True
            transport.set_write_buffer_limits(high=0, low=0)

    def _gathered(self, length: int) -> None:
        self._out_bytes += length
        if self._out_bytes >= RECEIVE_BUFFER or self._memory.is_full:
            self._write_out()
        elif not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if not self.closed:
            self._write_out()

    def _write_out(self) -> None:
        if self._out and self._transport is not None:
            self._last_write = self._out_bytes
            out, self._out, self._out_bytes = self._out, [], 0
            self._transport.writelines(out)

    def write_eof(self) -> None:
        if self._transport is not None and not self.closed:
            self._write_out()
            # A job that has reset the connection: asyncio's own loop meets that here, and tells it when it reads next.
            with suppress(OSError):
                if not self._tls:  # which has no half-close: the job's end will end both directions
                    self._transport.write_eof()

    def pause_reading(self) -> None:
        self._paused = True
        self._apply()

    def resume_reading(self) -> None:
        self._paused = False
        self._apply()

    def close(self) -> None:
        """Flush and close; the user hears nothing more."""
        if not self.closed:
            self._write_out()
        self.closed = True
        if self._transport is not None:
            if self._resets:
                self._linger(_FLUSH)
            if self._resuming:  # asyncio's own transport would close itself twice
                asyncio.get_running_loop().call_soon(self._transport.close)
            else:
                self._transport.close()
            if not self._tls:  # whose transport has a limit of its own
                self._wait_for_flush()

    def _wait_for_flush(self) -> None:
        if self._transport is not None and (left := self._transport.get_write_buffer_size()):
            asyncio.get_running_loop().call_later(FLUSH_STALLED_S, self._look_at_flush, left)

    def _look_at_flush(self, before: int) -> None:
        if self._transport is not None and self._transport.get_write_buffer_size() >= before:
            if self._resets:
                self._linger(_RESET)
            self.abort()
        else:
            self._wait_for_flush()

    def abort(self) -> None:
        """Drop the connection at once; the user hears nothing more."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def info(self, name: str) -> Any:
        """Return what the transport knows of the connection (``asyncio.BaseTransport.get_extra_info``)."""
        return None if self._transport is None else self._transport.get_extra_info(name)

    def hand_over(self, protocol: asyncio.Protocol, received: bytes) -> None:
        """Give the connection to another protocol, with bytes that were received; the user hears nothing more."""
        transport, self._transport = self._transport, None
        self.closed = True
        if transport is None:
            return
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if not self._reading:
            transport.resume_reading()
        protocol.data_received(received)

    def has_failed(self) -> bool:
        """Return whether the kernel knows that the connection has broken; the loop meets that at its next write."""
        sock = None if self._transport is None or self.closed else self._socket()
        return sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def is_stale(self) -> bool:
        """Whether the job has already ended (or said something on) a connection that should be idle.

        Asks the kernel: the loop may not have seen it yet. One system call.
        """
        if self._transport is None or self.closed or self._transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self._socket().fileno(), select.POLLIN)
        return bool(poll.poll(0))
