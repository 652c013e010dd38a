"""Taking accepted connections over: from the HTTP server that answered the upgrade to a link."""

from __future__ import annotations

import asyncio

from pagent.errors import LinkClosedError
from pagent.net.link import Link


class Lobby:
    """Counts the links that nobody has vouched for yet. Together with who is at the reception they are bounded."""

    def __init__(self) -> None:
        self.waiting = 0

    def enter(self, ready: asyncio.Future[None], closed: asyncio.Future[LinkClosedError]) -> None:
        """One more waits until it is vouched for, by the result of ``ready``; else until it is ``closed``.

        Who is refused may let that take its time: it has not left before its socket has.
        """
        self.waiting += 1

        def decided(ready: asyncio.Future[None]) -> None:
            if ready.cancelled() or ready.exception() is not None:
                closed.add_done_callback(self._left)
            else:
                self._left()

        ready.add_done_callback(decided)

    def _left(self, closed: object = None) -> None:
        self.waiting -= 1


def take_over(transport: asyncio.Transport, link: Link, answer: bytes) -> None:
    """Send the 101 and hand the socket to ``link``."""
    transport.write(answer)
    transport.set_protocol(link)
    link.connection_made(transport)
    transport.resume_reading()
