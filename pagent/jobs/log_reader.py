"""Read an output file while its job writes it. Another program may truncate the file meanwhile."""

from __future__ import annotations

import os
from typing import Final

from pagent.buffers import BODY_CHUNK
from pagent.jobs.capped import CappedOutput

#: Bytes before the place of a reader that have to be unchanged. A file that was emptied and has grown beyond that
#: place before the next look is known by them.
_MEMORY: Final = 64


class LogReader:
    """One reader of one output file. :meth:`read` blocks, and may be called in any thread, one call at a time.

    ``offset`` counts from the start of the output, dropped bytes of a capped one included. With ``follow`` a file that
    has become shorter is read again from its start, as ``tail -f`` does.
    """

    def __init__(self, descriptor: int, capped: CappedOutput | None, offset: int, *, follow: bool) -> None:
        # For life.
        self.descriptor: Final = descriptor
        self._capped: Final = capped
        self._follow: Final = follow
        # The place.
        self.offset = offset
        self._before = b""

    def bounds(self) -> tuple[int, int]:
        """Return where the next read begins, and where the output ends now. OSError of the disk."""
        if self._capped is not None:
            at, _ = self._capped.read(self.descriptor, self.offset, 0)
            end = self._capped.size()
        else:
            at, end = self.offset, os.fstat(self.descriptor).st_size
        return at, max(at, end)

    def read(self) -> bytes:
        """Return the bytes at ``offset``, which moves past them; empty at the end of the file. OSError of the disk."""
        if self._capped is not None:
            at, data = self._capped.read(self.descriptor, self.offset, BODY_CHUNK)
            self.offset = at + len(data)
            return data
        data = self._read_on()
        self.offset += len(data)
        return data

    def _read_on(self) -> bytes:
        known = self._before if self._follow else b""
        found = os.pread(self.descriptor, len(known) + BODY_CHUNK, self.offset - len(known))
        if found[: len(known)] != known:
            self.offset, self._before = 0, b""
            return self._read_on()
        self._before = found[-_MEMORY:]
        return found[len(known) :]
