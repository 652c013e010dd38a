"""Gather the data that one iteration of the event loop sends on a link, and write it once at the iteration's end.

One system call for many small messages costs the sender less, and wakes the peer once. Data that is sent while a read
of bulk is handled is written when that read ends.
"""

from __future__ import annotations

from collections.abc import Callable

from pagent.buffers import JOIN_MAX, Bytes
from pagent.limits import LINK_HIGH_WATER
from pagent.runtime.iteration import Gathering, current_iteration
from pagent.runtime.metrics import STATISTICS


class WriteBatch(Gathering):
    """The unwritten data of one link.

    ``write`` is called with the buffers to write, in order, and with whether one of them is larger than ``JOIN_MAX``.
    """

    __slots__ = ("_buffers", "_bytes", "_flush_due", "_iteration", "_large", "_write")

    def __init__(self, write: Callable[[list[Bytes], bool], None]) -> None:
        # For life.
        self._write = write
        self._iteration = current_iteration()
        # The batch.
        self._buffers: list[Bytes] = []
        self._bytes = 0
        self._large = False
        self._flush_due = False

    def put(self, data: Bytes) -> None:
        """Write ``data`` when the read or the loop iteration ends; at once if the batch exceeds ``LINK_HIGH_WATER``."""
        length = len(data)
        self._buffers.append(data)
        self._bytes += length
        if length > JOIN_MAX:
            self._large = True
        if self._bytes > LINK_HIGH_WATER:
            self.flush()
        elif not self._flush_due:
            self._iteration.write_after_read(self)
            self._flush_due = True

    def put_with_head(self, head: Bytes, data: Bytes) -> None:
        """Write as :meth:`put` does, for ``data`` with a small buffer before it, which stays in one batch with it."""
        self._buffers.append(head)
        self._bytes += len(head)
        self.put(data)

    def flush(self) -> None:
        """Write the gathered data now."""
        STATISTICS.sent += self._bytes
        buffers, self._buffers, self._bytes = self._buffers, [], 0
        large, self._large = self._large, False
        if buffers:
            self._write(buffers, large)

    def iteration_ends(self) -> None:
        self._flush_due = False
        self.flush()
