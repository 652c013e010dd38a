"""The users' side of a router: its listening sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

from pagent.config.router import RouterControl
from pagent.front.context import Fallback, FrontContext
from pagent.front.spools import FrontSpools
from pagent.front.user import UserConnection
from pagent.rpc.directory import Directory, Gate


class FrontServer:
    """Serves users on listening sockets until :meth:`close`. ValueError if a trusted proxy is no address or network."""

    def __init__(
        self, directory: Directory, gate: Gate, fallback: Fallback, settings: RouterControl, spools: FrontSpools
    ) -> None:
        self._context = FrontContext(directory, gate, fallback, settings, spools)
        self._servers: list[asyncio.Server] = []

    async def listen(self, sockets: Sequence[socket.socket], *, tls: ssl.SSLContext | None = None) -> None:
        """Accept on these sockets, which listen already."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            server = await loop.create_server(self._accepted, sock=sock, ssl=tls)
            self._servers.append(server)

    def _accepted(self) -> asyncio.Protocol:
        return UserConnection(self._context).port

    @property
    def connections(self) -> int:
        """How many connections are open, tunnels among them."""
        return len(self._context.deadlines)

    def stop(self) -> None:
        """Accept no more."""
        for server in self._servers:
            server.close()

    async def close(self) -> None:
        """Accept no more, and drop all connections."""
        self.stop()
        await self._context.close()
