"""Keep links to routers: dial each, and dial it again when its link is lost (docs/contract.rst, "Dialling", "Loss")."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from pagent.config.model import ClientSettings
from pagent.errors import ConfigError, DialError, LinkClosedError
from pagent.net.dial import Address, Backoff, choose_proxy, parse_address
from pagent.net.proxy import Proxy
from pagent.rpc.connection import Connection
from pagent.service.links import NORMAL, AgentLinks

_log = logging.getLogger(__name__)

#: How often an address is tried again that leads to a router with another link.
SAME_ROUTER_S: Final = 60.0

_SAME_ROUTER: Final = "the agent has another link to this router"

#: Dials with a new connection, and returns it once the WebSocket is open. It gets the id of the link that was lost
#: before. DialError.
Dial = Callable[[str | None], Awaitable[Connection]]


class RouterTarget(NamedTuple):
    """A router to dial. ``text``: its address as the configuration has it."""

    text: str
    address: Address
    proxy: Proxy | None


def targets_of(client: ClientSettings, environ: Mapping[str, str]) -> list[RouterTarget]:
    """Return the routers to dial, with the proxy for each. ConfigError, which names the key."""
    is_list = not isinstance(client.address, str)
    targets = []
    for index, router in enumerate(client.routers):
        try:
            address = parse_address(router.address)
        except ConfigError as error:
            raise ConfigError(f"client.address{f'[{index}]' if is_list else ''}: {error}") from None
        try:
            proxy = choose_proxy(client.proxy, address, environ)
        except ConfigError as error:
            raise error if client.proxy is None else ConfigError(f"client.proxy: {error}") from None
        targets.append(RouterTarget(router.address, address, proxy))
    return targets


class DialledLinks:
    """The links to all routers that are dialled.

    :param count: addresses.
    :param ends: whether dialling ends when there is no link, and no first attempt is under way.
    """

    def __init__(self, count: int, *, ends: bool) -> None:
        self._ends = ends
        self._first_attempts = count  # that are under way
        self._open: list[Connection] = []  # the oldest first
        #: Set when dialling ends.
        self.ended = asyncio.Event()

    def other_link(self, connection: Connection) -> Connection | None:
        """Return the open link to the same router process, if there is one."""
        links = (link for link in self._open if link.is_open)
        return next((link for link in links if _router(link) == _router(connection)), None)

    def attempted(self) -> None:
        """Count the end of an address's first attempt."""
        self._first_attempts -= 1

    def opened(self, connection: Connection) -> None:
        self._open.append(connection)

    def closed(self, connection: Connection) -> None:
        self._open.remove(connection)

    @property
    def has_link(self) -> bool:
        """Whether a link is open."""
        return bool(self._open)

    def lost(self, address: Address, reason: Exception) -> bool:
        """Take note that an address has no link, and why. Return whether the dialling has ended.

        It ends if it should end without a link, and there is none.
        """
        if self._ends and not self._open and not self._first_attempts:
            self.ended.set()
        return self.ended.is_set()


def _router(connection: Connection) -> object:
    """Return the key of a router process: its instance; the link itself for a router without one."""
    peer = connection.peer
    assert peer is not None
    return connection if peer.instance is None else (peer.uid, peer.instance)


class RouterDialling:
    """Dials one router."""

    def __init__(
        self, address: Address, dial: Dial, dialled: DialledLinks, links: AgentLinks, reconnect_delay: float
    ) -> None:
        # For life.
        self._address = address
        self._dial = dial
        self._dialled = dialled
        self._links = links
        # From one link to the next.
        self._backoff = Backoff(reconnect_delay)
        self._lost: str | None = None
        self._attempted = False

    async def keep(self) -> None:
        """Dial, and dial again after each lost link, until cancelled or until dialling ends."""
        while not self._dialled.ended.is_set():
            try:
                connection = await self._connect()
            except (DialError, LinkClosedError) as failure:
                await self._pause(failure, 0.0)
                continue
            if (other := self._dialled.other_link(connection)) is None:
                await self._until_lost(connection)
            else:
                await self._leave_to(other, connection)

    async def _connect(self) -> Connection:
        """Dial, and wait for the handshake. DialError, LinkClosedError: the router refuses it."""
        try:
            connection = await self._dial(self._lost)
            await connection.ready
            return connection
        finally:
            if not self._attempted:
                self._attempted = True
                self._dialled.attempted()

    async def _until_lost(self, connection: Connection) -> None:
        began = time.monotonic()
        self._dialled.opened(connection)
        reason = await asyncio.shield(connection.link.closed)
        lived_s = time.monotonic() - began
        self._dialled.closed(connection)
        self._lost = connection.uid
        await self._links.jobs_dropped(self._lost)
        await self._pause(reason, lived_s)

    async def _leave_to(self, other: Connection, connection: Connection) -> None:
        """Close a link whose router has an older one, and wait until that is lost, or until the next attempt."""
        _log.info("%s leads to a router that has a link; trying again in %.0f s", self._name, SAME_ROUTER_S)
        await connection.close(NORMAL, _SAME_ROUTER)
        await asyncio.wait((other.link.closed,), timeout=SAME_ROUTER_S)

    async def _pause(self, reason: Exception, lived_s: float) -> None:
        text = str(reason) if isinstance(reason, DialError) else f"{self._name}: {reason}"
        if self._dialled.lost(self._address, reason):
            _log.error("no link with %s (pagent help no-link)", text)
            return
        delay_s = self._backoff.delay(lived_s)
        _log.warning("no link with %s; dialling again in %.1f s (pagent help no-link)", text, delay_s)
        await asyncio.sleep(delay_s)

    @property
    def _name(self) -> str:
        return self._address.authority
