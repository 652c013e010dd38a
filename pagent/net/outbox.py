"""What one turn of the loop sends on a link: gathered, and written once at its end.

Where only one port makes the link send in a turn, and seldom others, what it sent is written as soon as it is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from pagent.buffers import Bytes
from pagent.limits import JOIN_MAX, LINK_HIGH_WATER
from pagent.net.turns import current_turns

#: So many turns in which only one port made the link send, and what the next one sends is not kept for others.
_SELDOM: Final = 16


class Outbox:
    """Of one link. ``write`` gets what is to be written in one go, and whether something of it is large."""

    __slots__ = (
        "_alone",
        "_bytes",
        "_first",
        "_flush_due",
        "_large",
        "_loop",
        "_out",
        "_turns",
        "_write",
    )

    def __init__(self, write: Callable[[list[Bytes], bool], None]) -> None:
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._turns = current_turns()
        self._out: list[Bytes] = []
        self._bytes = 0
        self._large = False
        self._flush_due = False
        self._first = 0  # how much of it the first port of the turn left here
        self._alone = 0  # turns since there was another one

    def put(self, data: Bytes) -> None:
        """It is written after what was put before, in this turn."""
        length = len(data)
        self._out.append(data)
        self._bytes += length
        if length > JOIN_MAX:
            self._large = True
        if not self._flush_due:
            self._flush_due = True
            if not self._turns.afterwards(self._port_done):
                self._loop.call_soon(self._flush)
        elif self._bytes > LINK_HIGH_WATER:
            self.write_out()

    def put_behind(self, heads: tuple[Bytes, ...], data: Bytes) -> None:
        """All in order and together; ``heads`` are short."""
        self._out += heads
        self.put(data)

    def write_out(self) -> None:
        """Write what there is now."""
        out, self._out, self._bytes = self._out, [], 0
        large, self._large = self._large, False
        if out:
            self._write(out, large)

    def _port_done(self) -> None:
        """What came from a job has been sent: now, if others seldom send in the same turn; else with what they do."""
        if self._alone >= _SELDOM and not self._large:
            self.write_out()
        self._first = len(self._out)
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        left = len(self._out)
        self._alone = self._alone + 1 if left == self._first else 0
        self._flush_due = False
        self.write_out()
