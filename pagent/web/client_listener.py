"""A listening port of a router for clients. All such ports share one front, which serves the traffic of jobs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from pagent.access.hosts import is_loopback_interface
from pagent.config.router import RouterControl
from pagent.errors import ConfigError
from pagent.front.context import Site
from pagent.front.server import FrontServer
from pagent.http1.incoming import IncomingHead
from pagent.net.accept.listening import listen
from pagent.rpc.directory import Client
from pagent.web.handover import RouterWeb


class ListenerSettings(Protocol):
    """The keys that the section of each listener has."""

    @property
    def interface(self) -> str | None:
        """The address; None for all."""

    @property
    def port(self) -> int:
        """The port; 0 for any free one."""


class ClientListener:
    """One port, and the application that answers the requests to it that are for no job.

    :param section: that of the configuration, for errors.
    :param app: makes the application, once the listener is wanted.
    :param control: the limits of connections, which are the same for all listeners.
    """

    def __init__(
        self, section: str, settings: ListenerSettings, app: Callable[[], web.Application], control: RouterControl
    ) -> None:
        self.section = section
        self._settings = settings
        self._app = app
        self._control = control
        self._web: RouterWeb | None = None
        #: Port of the listener; 0 if it is closed.
        self.port = 0

    def fallback(self, head: IncomingHead, client: Client) -> asyncio.Protocol:
        """Return the protocol of a connection whose next request is for the application."""
        assert self._web is not None
        return self._web.protocol(head, client)

    @property
    def connections(self) -> int:
        """The number of connections whose request the application answers."""
        return 0 if self._web is None else self._web.connections

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback_interface(self._settings.interface)

    async def listen(self, front: FrontServer, *, tls: ssl.SSLContext | None, site: Site | None = None) -> int:
        """Listen, and return the port; ``site``: as of the front. ConfigError if the port cannot be had."""
        interface, port = self._settings.interface, self._settings.port
        self._web = RouterWeb(self._app(), body_s=self._control.body_s, access_log=self._control.access_log)
        await self._web.start()
        try:
            sockets = listen(interface, port)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{self.section}: cannot listen on port {port} of {self._where}: {reason}") from None
        self.port = int(sockets[0].getsockname()[1])
        await front.listen(sockets, tls=tls, site=site)
        return self.port

    async def drain(self, over: asyncio.Event) -> None:
        """Let the requests under way end; those that are left when ``over`` is set get 503."""
        if self._web is not None:
            await self._web.drain(over)

    async def close(self) -> None:
        """End the answers that are under way."""
        if self._web is not None:
            await self._web.close()

    @property
    def _where(self) -> str:
        return "all addresses" if self._settings.interface is None else self._settings.interface

    def __str__(self) -> str:
        return f"{self.section} ({self._settings.interface or 'all addresses'}, port {self.port})"
