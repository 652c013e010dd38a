"""Count the bytes that an event loop keeps in buffers for receivers that do not take them, and bound them.

A stream, a connection to a job or an unfinished message has its own bound, but there may be thousands. Each counts
its bytes here. Once all together exceed the limit, further data goes to disk where possible, waits in its sender, or is
refused.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from pagent.limits import BUFFERS_LEAST, BUFFERS_SHARE, MIB
from pagent.runtime.per_loop import PerLoop

#: The part of the memory that is left to uncounted uses: receive buffers, messages under way, fragmentation, and
#: some 15 KiB for each of a thousand streams that stall when it is full. Of a small limit, five eighths are left.
BUFFERS_RESERVE: Final = 40 * MIB


class BufferMemory:
    """The buffers of one event loop; :func:`current_memory` returns it. ``used`` is in bytes."""

    __slots__ = ("_most", "used")

    def __init__(self) -> None:
        self._most = 0
        self.used = 0
        self.set_limit(None)

    def set_limit(self, limit: int | None) -> None:
        """Set the bytes that the buffers may take; None: :func:`default_limit`.

        A part of it is left for memory that is not counted: receive buffers, small messages, the allocator.
        """
        limit = default_limit() if limit is None else limit
        self._most = limit - min(BUFFERS_RESERVE, 5 * limit // 8)

    @property
    def is_full(self) -> bool:
        return self.used > self._most

    def change(self, amount: int) -> None:
        """Count bytes that a buffer has gained, or lost if ``amount`` is negative."""
        self.used += amount

    def recount(self, before: int, now: int) -> int:
        """Count ``now`` bytes for a buffer that was counted with ``before``; return ``now``."""
        self.used += now - before
        return now


def default_limit() -> int:
    """Return a share of the machine's memory, at least ``BUFFERS_LEAST``."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not a Unix system
        total = 0
    return max(BUFFERS_LEAST, total // BUFFERS_SHARE)


_MEMORY: Final = PerLoop(BufferMemory)


class _Latest:
    """The loop that asked last, and its count: a process has one loop, and each call asks several times."""

    __slots__ = ("loop", "memory")

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.memory = BufferMemory()


_LATEST: Final = _Latest()


def current_memory() -> BufferMemory:
    """Return the count of the running loop."""
    loop = asyncio.get_running_loop()
    if loop is not _LATEST.loop:
        _LATEST.loop, _LATEST.memory = loop, _MEMORY.current()
    return _LATEST.memory
