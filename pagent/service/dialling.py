"""Keep a link to a router: dial it, and dial it again when the link is lost (docs/contract.rst, "Loss")."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable

from pagent.errors import DialError, LinkClosedError
from pagent.net.dial import Address, Backoff, dial
from pagent.rpc.connection import Connection
from pagent.service.links import AgentLinks

_log = logging.getLogger(__name__)


class RouterDialling:
    """Dials one router.

    ``connection`` makes the connection of the next link, and gets the id of the link that was lost before. ``tls``
    returns the context to dial with.
    """

    def __init__(
        self,
        address: Address,
        links: AgentLinks,
        *,
        connection: Callable[[str | None], Connection],
        tls: Callable[[], ssl.SSLContext | None],
        reconnect_delay: float,
    ) -> None:
        # For life.
        self._address = address
        self._links = links
        self._connection = connection
        self._tls = tls
        # From one link to the next.
        self._backoff = Backoff(reconnect_delay)
        self._lost: str | None = None

    async def keep(self) -> None:
        """Dial, and dial again after each lost link, until cancelled."""
        while True:
            reason, lived_s = await self._one_link()
            delay = self._backoff.delay(lived_s)
            _log.warning("no link with %s; dialling again in %.1f s", reason, delay)
            await asyncio.sleep(delay)

    async def keep_first(self) -> None:
        """Dial once, and return when there is no link."""
        reason, _ = await self._one_link()
        _log.error("no link with %s", reason)

    async def _one_link(self) -> tuple[str, float]:
        """Dial, and wait for the end of the link; return the reason and the seconds that the link lived."""
        connection = self._connection(self._lost)
        try:
            await dial(self._address, connection, tls=self._tls())
            await connection.ready
        except DialError as error:
            return str(error), 0.0
        except LinkClosedError as refused:
            return f"{self._address.authority}: {refused}", 0.0
        began = time.monotonic()
        reason = await asyncio.shield(connection.link.closed)
        lived_s = time.monotonic() - began
        self._lost = connection.uid
        await self._links.jobs_dropped(self._lost)
        return f"{self._address.authority}: {reason}", lived_s
