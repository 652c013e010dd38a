"""The listening ports of the agent's HTTP applications."""

from __future__ import annotations

import ssl
from typing import Final, NamedTuple

from aiohttp import web

from pagent.errors import ConfigError
from pagent.limits import HANDSHAKES_WAITING
from pagent.net.accept.gate import ConnectionGate
from pagent.net.accept.listening import listen
from pagent.web.http import HttpConnection

#: Time for a response to be completed when the agent ends.
_SHUTDOWN_S: Final = 1.0


class _Listening(NamedTuple):
    gate: ConnectionGate
    runner: web.AppRunner


class WebServer:
    """Serves applications until :meth:`close`. Each port has its own connection gate."""

    def __init__(self) -> None:
        self._listening: dict[str, _Listening] = {}

    async def listen(
        self,
        name: str,
        app: web.Application,
        interface: str | None,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        places: int = HANDSHAKES_WAITING,
    ) -> int:
        """Serve ``app``, and return the port, which the kernel chooses for 0.

        ``places``: connections whose peer is not authenticated yet that may be open at once. ConfigError if the port
        cannot be had; that begins with ``name``, the section that has interface and port.
        """
        try:
            sockets = listen(interface, port)
        except OSError as error:
            where = "all addresses" if interface is None else interface
            raise ConfigError(f"{name}: cannot listen on port {port} of {where}: {error.strerror or error}") from None
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        server = runner.server
        assert server is not None
        gate = ConnectionGate(sockets, lambda place: HttpConnection(place, server), tls=tls, places=places)
        self._listening[name] = _Listening(gate, runner)
        return int(sockets[0].getsockname()[1])

    def use_tls(self, name: str, tls: ssl.SSLContext | None) -> None:
        """Use another context for the next connections of the port ``name``, if there is one."""
        if (listening := self._listening.get(name)) is not None:
            listening.gate.tls = tls

    async def close(self) -> None:
        """Stop listening, and close all connections."""
        for listening in self._listening.values():
            listening.gate.stop()
            await listening.runner.cleanup()
            await listening.gate.close()
