"""The listening ports of the agent's HTTP applications."""

from __future__ import annotations

import ssl
from typing import Final

from aiohttp import web

from pagent.errors import ConfigError

#: How long an answer that is under way may take when the agent ends.
_SHUTDOWN_S: Final = 1.0


class WebServer:
    """Serves applications until :meth:`close`."""

    def __init__(self) -> None:
        self._runners: list[web.AppRunner] = []

    async def listen(
        self, name: str, app: web.Application, interface: str, port: int, tls: ssl.SSLContext | None = None
    ) -> int:
        """Serve ``app``; returns the port, which the kernel chooses for 0.

        ConfigError if it cannot be had; that begins with ``name``, the section that has interface and port.
        """
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, interface, port, ssl_context=tls).start()
        except OSError as error:
            # The loops put the address before the system's words, each in a form of its own.
            reason = (error.strerror or str(error)).rpartition(": ")[2]
            raise ConfigError(f"{name}: cannot listen on port {port} of {interface}: {reason}") from None
        return int(runner.addresses[0][1])

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
