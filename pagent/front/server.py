"""The listening sockets for a router's users."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, cast

from pagent.config.router import RouterControl
from pagent.front.context import Fallback, FrontContext, Site
from pagent.front.proxied import ProxiedSocket
from pagent.front.proxy_header import ProxyHeader
from pagent.front.spools import FrontSpools
from pagent.front.user import UserConnection
from pagent.limits import LISTEN_BACKLOG, TLS_CLOSE_TIMEOUT_S
from pagent.router_limits import USERS_MAX
from pagent.rpc.directory import Directory, RequestGate
from pagent.runtime.descriptors import open_limit

#: The part of the descriptors that users' connections may have; agents' links and files have the others.
_DESCRIPTORS_PART: Final = 2


class _Refused(asyncio.Protocol):
    """A connection for which there is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


class FrontServer:
    """Serves users on listening sockets until :meth:`close`.

    At most half of the descriptors are connections of users. Beyond that an idle one is closed for each new one, or the
    new one itself. ValueError if a trusted proxy is neither an address nor a network.
    """

    def __init__(
        self, directory: Directory, gate: RequestGate, fallback: Fallback, settings: RouterControl, spools: FrontSpools
    ) -> None:
        self._context = FrontContext(directory, gate, fallback, settings, spools)
        self._most = open_limit(USERS_MAX * _DESCRIPTORS_PART) // _DESCRIPTORS_PART
        self._servers: list[asyncio.Server | ProxiedSocket] = []

    async def listen(
        self, sockets: Sequence[socket.socket], *, tls: ssl.SSLContext | None = None, site: Site | None = None
    ) -> None:
        """Accept on these sockets, which listen already; ``site``: what they serve, None for that of ``control``."""
        context = self._context if site is None else self._context.of(site)
        accepted = partial(self._accepted, context)
        loop = asyncio.get_running_loop()
        handshake: dict[str, Any] = {}
        if tls is not None:
            handshake = {"ssl_handshake_timeout": self._context.head_s, "ssl_shutdown_timeout": TLS_CLOSE_TIMEOUT_S}
        for sock in sockets:
            if context.proxy_protocol:
                self._servers.append(ProxiedSocket(context, sock, accepted, {"ssl": tls, **handshake}))
                continue
            # The loop listens again, with a backlog of 100 if none is named.
            server = await loop.create_server(accepted, sock=sock, ssl=tls, backlog=LISTEN_BACKLOG, **handshake)
            self._servers.append(server)

    def _accepted(self, context: FrontContext, proxied: ProxyHeader | None = None) -> asyncio.Protocol:
        if self.connections >= self._most and not self._context.deadlines.drop_idle():
            return _Refused()
        return UserConnection(context, proxied).port

    @property
    def connections(self) -> int:
        """The number of open connections, tunnels included."""
        return len(self._context.deadlines)

    def stop(self) -> None:
        """Accept no more."""
        for server in self._servers:
            server.close()

    async def drain(self, over: asyncio.Event) -> None:
        """Accept no more, and let the requests under way end; those that are left when ``over`` is set get 503."""
        self.stop()
        await self._context.drain(over)

    async def close(self) -> None:
        """Accept no more, and drop all connections."""
        self.stop()
        await self._context.close()
