"""The links that nobody has vouched for yet."""

from __future__ import annotations

import asyncio

from pagent.net.link import Link


class Lobby:
    """Where they wait for their handshake. Together with who is at the reception they are bounded."""

    def __init__(self) -> None:
        self._links: set[Link] = set()

    def __len__(self) -> int:
        return len(self._links)

    def enter(self, link: Link, ready: asyncio.Future[None]) -> None:
        """One more waits until it is vouched for, by the result of ``ready``; else until it is closed.

        Who is refused may let that take its time: it has not left before its socket has.
        """
        self._links.add(link)

        def decided(ready: asyncio.Future[None]) -> None:
            if ready.cancelled() or ready.exception() is not None:
                link.closed.add_done_callback(lambda _: self._links.discard(link))
            else:
                self._links.discard(link)

        ready.add_done_callback(decided)

    def close(self) -> None:
        """Drop all that are here."""
        for link in list(self._links):
            link.abort("nobody has vouched for it")
