"""The RPC route: aiohttp answers what is no link, and hands over the sockets of those that are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from pagent.errors import HandshakeRefusedError
from pagent.net.link import Link
from pagent.net.lobby import Lobby
from pagent.net.reception import take_over
from pagent.web.local import text
from pagent.wire.upgrade import RPC_PATH, accept_upgrade


class Accepted(Protocol):
    """A new connection in the accepting role (``pagent.rpc.connection.Connection``)."""

    link: Link
    ready: asyncio.Future[None]

    def start(self) -> None:
        """The transport is connected."""


def rpc_app(connect: Callable[[], Accepted | None], lobby: Lobby) -> web.Application:
    """``connect`` makes the connection object for each new link, None: the agent ends and takes no more."""

    async def rpc(request: web.Request) -> web.StreamResponse:
        try:
            answer = accept_upgrade(request.path_qs, request.raw_headers)
        except HandshakeRefusedError as error:
            return text(str(error), status=400)
        transport = request.transport
        if transport is None or transport.is_closing():
            return text("the connection is gone", status=400)
        connection = connect()
        if connection is None:
            return text("the agent ends", status=503)
        request.protocol.transport = None  # else aiohttp closes it, when it hears that it has lost it
        take_over(transport, connection.link, answer)
        lobby.enter(connection.link, connection.ready)
        connection.start()
        return text("")  # to nobody: for aiohttp the connection is gone

    app = web.Application()
    app.router.add_get(RPC_PATH, rpc, allow_head=False)
    return app
