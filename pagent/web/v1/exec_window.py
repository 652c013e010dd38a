"""Bound the output of an exec that its client has received and not used (docs/api.rst, "Exec").

A page in a browser cannot pause the reading of its WebSocket. It names a window, and acknowledges the bytes that
it has used.
"""

from __future__ import annotations

import asyncio

from pagent.errors import ProtocolError
from pagent.wire.closing import INVALID_PAYLOAD


class OutputWindow:
    """The payload bytes of output that are not acknowledged. ``size``: None for a client that does not acknowledge."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._unacknowledged = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def until_room(self) -> None:
        """Wait while ``size`` bytes or more are not acknowledged."""
        await self._has_room.wait()

    def sent(self, count: int) -> None:
        """Count bytes that were sent."""
        self._unacknowledged += count
        self._update()

    def acknowledge(self, count: int) -> None:
        """Take an acknowledgement. ProtocolError if it is for more bytes than were sent, or for none."""
        if self._size is None or not 0 < count <= self._unacknowledged:
            raise ProtocolError(
                "ack is the number of bytes of output that were used since the last one", INVALID_PAYLOAD
            )
        self._unacknowledged -= count
        self._update()

    def _update(self) -> None:
        if self._size is None or self._unacknowledged < self._size:
            self._has_room.set()
        else:
            self._has_room.clear()
