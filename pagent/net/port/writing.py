"""The writing side of a connection: large writes of one read of a link are gathered into one system call."""

from __future__ import annotations

import asyncio
from typing import Final

from pagent.buffers import Bytes
from pagent.limits import KIB, MIB, PORT_HIGH_WATER, PORT_LOW_WATER
from pagent.runtime.iteration import Gathering, current_iteration
from pagent.runtime.memory import current_memory

#: Writes from this size on wait for the others of their read or loop iteration.
_GATHER_FROM: Final = 8 * KIB
#: Gathered bytes that are written at once. A system call may wake a thread on another core, which costs as much as
#: copying 100 KiB.
_GATHER_MAX: Final = MIB


class PortWriter(Gathering):
    """Writes to a transport, and counts bytes that the other end does not take. ``blocked``: it takes no more now."""

    __slots__ = (
        "_flush_due",
        "_gathered",
        "_gathered_bytes",
        "_iteration",
        "_last_write",
        "_memory",
        "_tight",
        "_transport",
        "_unsent",
        "blocked",
    )

    def __init__(self) -> None:
        # For life.
        self._memory = current_memory()
        self._iteration = current_iteration()
        # While connected.
        self._transport: asyncio.Transport | None = None
        self._gathered: list[Bytes] | None = None
        self._gathered_bytes = 0
        self._last_write = 0
        self._unsent = 0  # counted bytes in the transport's buffer
        self._flush_due = False
        self._tight = False
        self.blocked = False

    def open(self, transport: asyncio.Transport) -> None:
        """Write to ``transport``."""
        self._transport = transport
        transport.set_write_buffer_limits(high=PORT_HIGH_WATER, low=PORT_LOW_WATER)

    def close(self) -> None:
        """Forget the transport: it is gone, or another protocol has it."""
        self._transport = None
        self._count(0)

    @property
    def unsent_bytes(self) -> int:
        """Bytes in the transport's buffer."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def write(self, data: Bytes) -> None:
        """Write ``data``; large data at the end of the read under way, or of the loop iteration."""
        transport = self._transport
        if transport is None:
            return
        if self._memory.is_full:
            self._tighten(transport)
        if self._gathered_bytes == 0 and len(data) < _GATHER_FROM:
            transport.write(data)
        else:
            self._gather([data], len(data))

    def writelines(self, parts: list[Bytes]) -> None:
        """Write several parts as :meth:`write` does."""
        transport = self._transport
        if transport is None:
            return
        if self._memory.is_full:
            self._tighten(transport)
        length = sum([len(part) for part in parts])
        if self._gathered_bytes == 0 and length < _GATHER_FROM:
            transport.write(b"".join(parts))
        else:
            self._gather(parts, length)

    def flush(self) -> None:
        """Give gathered data to the transport now."""
        gathered = self._gathered
        if gathered is not None and self._transport is not None:
            self._last_write = self._gathered_bytes
            self._gathered, self._gathered_bytes = None, 0
            self._transport.writelines(gathered)

    def pause(self) -> None:
        """Note that the transport's buffer is above the high-water mark."""
        self.blocked = True
        # A transport keeps all buffers of a write until the kernel has taken the last of them.
        self._count(max(self.unsent_bytes, self._last_write))

    def resume(self) -> None:
        """Note that the transport's buffer is below the low-water mark."""
        self.blocked = False
        self._count(0)

    def _tighten(self, transport: asyncio.Transport) -> None:
        """Memory is short: count all data that the kernel does not take, and accept no more until it does."""
        if not self._tight:
            self._tight = True
            transport.set_write_buffer_limits(high=0, low=0)

    def _count(self, unsent: int) -> None:
        self._unsent = self._memory.recount(self._unsent, unsent)

    def _gather(self, parts: list[Bytes], length: int) -> None:
        if self._gathered is None:
            self._gathered = []
        self._gathered += parts
        self._gathered_bytes += length
        if self._gathered_bytes >= _GATHER_MAX or self._memory.is_full:
            self.flush()
        elif not self._flush_due:
            self._iteration.write_after_read(self)
            self._flush_due = True

    def iteration_ends(self) -> None:
        self._flush_due = False
        self.flush()
