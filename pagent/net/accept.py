"""Taking accepted connections over: from the HTTP server that answered the upgrade to a link."""

from __future__ import annotations

import asyncio
from typing import Final

from pagent.errors import LinkClosedError
from pagent.limits import HANDSHAKES_WAITING
from pagent.net.link import Link


class Lobby:
    """Counts the connections that nobody has vouched for yet, so that strangers cannot pile up."""

    def __init__(self, room: int = HANDSHAKES_WAITING) -> None:
        self._room: Final = room
        self._waiting = 0

    @property
    def full(self) -> bool:
        return self._waiting >= self._room

    def enter(self, ready: asyncio.Future[None], closed: asyncio.Future[LinkClosedError]) -> None:
        """One more waits until it is vouched for, by the result of ``ready``; else until it is ``closed``.

        Who is refused may let that take its time: it has not left before its socket has.
        """
        self._waiting += 1

        def decided(ready: asyncio.Future[None]) -> None:
            if ready.cancelled() or ready.exception() is not None:
                closed.add_done_callback(self._left)
            else:
                self._left()

        ready.add_done_callback(decided)

    def _left(self, closed: object = None) -> None:
        self._waiting -= 1


def take_over(transport: asyncio.Transport, link: Link, answer: bytes) -> None:
    """Send the 101 and hand the socket to ``link``."""
    transport.write(answer)
    transport.set_protocol(link)
    link.connection_made(transport)
    transport.resume_reading()
