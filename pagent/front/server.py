"""The users' side of a router: its connections, and what they have in common."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence

from pagent.config.router import RouterControl
from pagent.front.deadlines import Deadlines
from pagent.front.exchange import Exchange
from pagent.front.forwarded import TrustedProxies, plain_address
from pagent.front.held import HeldHeads
from pagent.front.raw import RawExchange
from pagent.front.user import UserConnection
from pagent.http1.incoming import IncomingHead
from pagent.net.port.connection import PortConnection
from pagent.rpc.directory import AgentLink, Client, Directory, Gate
from pagent.runtime.tasks import TaskOwner

_log = logging.getLogger(__name__)

#: Makes the protocol that takes over a connection, for a request that is no traffic to a job. It gets the bytes of the
#: head and all that was read after it; the request is the last one of its connection.
Fallback = Callable[[IncomingHead, Client], asyncio.Protocol]


class FrontServer:
    """Serves users on listening sockets until :meth:`close`. ValueError if a trusted proxy is no address or network."""

    def __init__(self, directory: Directory, gate: Gate, fallback: Fallback, settings: RouterControl) -> None:
        # For life.
        self.directory = directory
        self.gate = gate
        self.fallback = fallback
        self.head_s = settings.head_s
        self.idle_s = settings.idle_s
        self.body_s = settings.body_s
        self._trusted = TrustedProxies(settings.trusted_proxies)
        # While open.
        self.held = HeldHeads()
        self.deadlines = Deadlines(min(self.head_s, self.idle_s, self.body_s))
        self.tasks = TaskOwner("front")
        self._warned = False
        self._servers: list[asyncio.Server] = []

    async def listen(self, sockets: Sequence[socket.socket], *, tls: ssl.SSLContext | None = None) -> None:
        """Accept on these sockets, which listen already."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            server = await loop.create_server(lambda: UserConnection(self).port, sock=sock, ssl=tls)
            self._servers.append(server)

    @property
    def connections(self) -> int:
        """How many connections are open, tunnels among them."""
        return len(self.deadlines)

    def stop(self) -> None:
        """Accept no more."""
        for server in self._servers:
            server.close()

    async def close(self) -> None:
        """Accept no more, and drop all connections."""
        self.stop()
        self.deadlines.drop_all()
        await self.tasks.close()

    # --- for connections --------------------------------------------------------------------------

    def client_of(self, port: PortConnection) -> Client:
        """Return the client of a new connection."""
        peer, own = port.info("peername"), port.info("sockname")
        address = plain_address(peer[0]) if isinstance(peer, tuple) else ""
        return Client(
            address,
            peer[1] if isinstance(peer, tuple) else 0,
            self._trusted.holds(address),
            port.info("sslcontext") is not None,
            own[1] if isinstance(own, tuple) else 0,
        )

    def warn_of_forwarded(self, client: Client) -> None:
        """Log once that fields of a proxy are dropped: the proxy in front is likely not configured."""
        if not self._warned:
            self._warned = True
            _log.warning("forwarded fields of %s are dropped: control.trusted_proxies does not list it", client.address)

    def exchange(self, user: UserConnection, head: IncomingHead, link: AgentLink) -> Exchange:
        """Return the exchange for a request to an agent."""
        return RawExchange(user, head)
