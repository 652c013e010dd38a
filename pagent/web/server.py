"""The listening ports of the agent's HTTP applications."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, NamedTuple, cast

from aiohttp import web

from pagent.errors import ConfigError
from pagent.limits import HANDSHAKE_TIMEOUT_S
from pagent.net.lobby import Lobby
from pagent.net.reception import Reception

#: How long an answer that is under way may take when the agent ends.
_SHUTDOWN_S: Final = 1.0


class _Listening(NamedTuple):
    server: asyncio.Server
    reception: Reception
    runner: web.AppRunner


class WebServer:
    """Serves applications until :meth:`close`. Each connection carries one request, so that none can idle."""

    def __init__(self) -> None:
        self._listening: list[_Listening] = []

    async def listen(
        self,
        name: str,
        app: web.Application,
        interface: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        lobby: Lobby | None = None,
    ) -> int:
        """Serve ``app``; returns the port, which the kernel chooses for 0.

        ``lobby``: where the app has connections that it has taken over and does not know yet. ConfigError if the port
        cannot be had; that begins with ``name``, the section that has interface and port.
        """
        app.on_response_prepare.append(_close_behind)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        handlers = runner.server
        assert handlers is not None
        reception = Reception(lambda: cast(asyncio.Protocol, handlers()), Lobby() if lobby is None else lobby)
        handshake_s = None if tls is None else HANDSHAKE_TIMEOUT_S
        try:
            server = await asyncio.get_running_loop().create_server(
                reception, interface, port, ssl=tls, ssl_handshake_timeout=handshake_s
            )
        except OSError as error:
            await runner.cleanup()
            # The loops put the address before the system's words, each in a form of its own.
            reason = (error.strerror or str(error)).rpartition(": ")[2]
            raise ConfigError(f"{name}: cannot listen on port {port} of {interface}: {reason}") from None
        self._listening.append(_Listening(server, reception, runner))
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        for listening in self._listening:
            listening.server.close()
            listening.reception.close()
            await listening.runner.cleanup()


async def _close_behind(request: web.Request, response: web.StreamResponse) -> None:
    response.force_close()
