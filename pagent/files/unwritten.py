"""Keep the bytes that an upload has received and not written yet. The event loop adds them, a thread takes them."""

from __future__ import annotations

from collections import deque
from typing import Final

from pagent.buffers import Bytes
from pagent.files.disk_work import DISK_PIECE
from pagent.files.holes import HOLE_COST
from pagent.limits import KIB

#: Pieces of an upload below this size are joined.
DISK_JOIN: Final = 16 * KIB


class UnwrittenData:
    """Bytes and holes in order, with their costs as work for the disk.

    ``reads_holes``: the zeros of a hole have to be read, for a digest, so a hole costs its size.
    """

    def __init__(self, *, reads_holes: bool) -> None:
        self._reads_holes = reads_holes
        self._joined = bytearray()  # small pieces: kept one by one they would take more memory than their bytes
        self._parts: deque[Bytes | int] = deque()  # an int is the length of a hole
        # Changed by the event loop.
        self._added = 0
        self._added_holes = 0
        # Changed by the thread that writes.
        self._written = 0
        self._written_holes = 0

    def __bool__(self) -> bool:
        return bool(self._parts)

    @property
    def pending(self) -> int:
        """Work that waits for the disk, in bytes. Small pieces count once they are joined."""
        return self._added - self._written

    @property
    def buffered(self) -> int:
        """Bytes in memory that wait for the disk: holes are work, but take no memory."""
        return self._added - self._written - (self._added_holes - self._written_holes)

    @property
    def written(self) -> int:
        """Work that was done, in bytes."""
        return self._written

    # --- in the event loop ------------------------------------------------------------------------

    def add(self, data: Bytes) -> None:
        if len(data) < DISK_JOIN:
            self._joined += data
            if len(self._joined) >= DISK_PIECE:
                self.flush()
        else:
            if self._joined:
                self.flush()
            self._append(data)

    def add_hole(self, size: int) -> None:
        self.flush()
        self._parts.append(size)
        cost = self._cost_of_hole(size)
        self._added += cost
        self._added_holes += cost

    def flush(self) -> None:
        """Let the small pieces be written. At the end of an upload the thread calls it."""
        if self._joined:
            self._append(self._joined)
            self._joined = bytearray()

    def _append(self, data: Bytes) -> None:
        self._parts.append(data)
        self._added += len(data)

    # --- in a thread ------------------------------------------------------------------------------

    def hole(self) -> int:
        """Return the length of the hole that is next; 0 if bytes are."""
        part = self._parts[0]
        return part if isinstance(part, int) else 0

    def take(self, most: int) -> list[Bytes]:
        """Remove and return the next bytes, about ``most`` of them, up to the next hole."""
        parts: list[Bytes] = []
        size = 0
        while self._parts and size < most:
            part = self._parts[0]
            if isinstance(part, int):
                break
            self._parts.popleft()
            parts.append(part)
            size += len(part)
        return parts

    def wrote(self, size: int) -> None:
        """Count bytes that were taken as written."""
        self._written += size

    def wrote_hole(self, size: int) -> int:
        """Remove ``size`` bytes of the hole that is next; return their cost."""
        hole = self.hole()
        if size == hole:
            self._parts.popleft()
        else:
            self._parts[0] = hole - size
        cost = self._cost_of_hole(size)
        self._written_holes += cost
        self._written += cost
        return cost

    def _cost_of_hole(self, size: int) -> int:
        return size if self._reads_holes else HOLE_COST
