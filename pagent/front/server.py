"""The listening sockets for a router's users."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from pagent.config.router import RouterControl
from pagent.front.context import Fallback, FrontContext, Site
from pagent.front.opening import OpeningSocket
from pagent.front.proxy_header import ProxyHeader
from pagent.front.spools import FrontSpools
from pagent.front.user import UserConnection
from pagent.limits import TLS_CLOSE_TIMEOUT_S
from pagent.router_limits import USERS_MAX
from pagent.rpc.directory import Directory, RequestGate
from pagent.runtime.descriptors import open_limit

_log = logging.getLogger(__name__)

#: The part of the descriptors that users' connections may have; agents' links and files have the others.
_DESCRIPTORS_PART: Final = 2


class FrontServer:
    """Serves users on listening sockets until :meth:`close`.

    At most half of the descriptors are connections of users, TLS handshakes included. Beyond that one that has made no
    request is closed for each new one, otherwise one without a request under way, or the new one itself. ValueError if
    a trusted proxy is neither an address nor a network.

    :param handed_over: returns the number of connections that ``fallback`` of each listener has.
    """

    def __init__(
        self,
        directory: Directory,
        gate: RequestGate,
        fallback: Fallback,
        settings: RouterControl,
        spools: FrontSpools,
        handed_over: Callable[[], int] = int,
    ) -> None:
        self._handed_over = handed_over
        self._context = FrontContext(directory, gate, fallback, settings, spools)
        self._most = open_limit(USERS_MAX * _DESCRIPTORS_PART) // _DESCRIPTORS_PART
        self._listening: list[OpeningSocket] = []

    async def listen(
        self, sockets: Sequence[socket.socket], *, tls: ssl.SSLContext | None = None, site: Site | None = None
    ) -> None:
        """Accept on these sockets, which listen already; ``site``: None for that of ``control``."""
        context = self._context if site is None else self._context.of(site)
        handshake: dict[str, Any] = {}
        if tls is not None:
            handshake = {"ssl_handshake_timeout": self._context.head_s, "ssl_shutdown_timeout": TLS_CLOSE_TIMEOUT_S}
        for sock in sockets:
            serve = partial(_serve, context)
            self._listening.append(OpeningSocket(context, sock, serve, {"ssl": tls, **handshake}, self._has_room))

    def _has_room(self) -> bool:
        """Return whether one more connection may be open, and close another one for it if need be."""
        count = self.connections + self._handed_over()
        if count < self._most or self._context.deadlines.drop_idle():
            return True
        _log.warning("connection refused: %d connections of users are open, each with a request", count)
        return False

    @property
    def connections(self) -> int:
        """The number of open connections, tunnels included, those of ``fallback`` not."""
        return len(self._context.deadlines)

    def stop(self) -> None:
        """Accept no more."""
        while self._listening:
            self._listening.pop().close()

    async def drain(self, over: asyncio.Event) -> None:
        """Accept no more, and let the requests under way end; those that are left when ``over`` is set get 503."""
        self.stop()
        await self._context.drain(over)

    async def close(self) -> None:
        """Accept no more, and drop all connections."""
        self.stop()
        await self._context.close()


def _serve(context: FrontContext, proxied: ProxyHeader | None = None) -> asyncio.Protocol:
    return UserConnection(context, proxied).port
