"""The RPC route: accept the WebSocket handshake of a link, and hand its socket over. Refuse other requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from pagent.errors import HandshakeRefusedError, ProtocolError
from pagent.net.accept.place import Place
from pagent.net.link.link import Link
from pagent.rpc.directory import Subject
from pagent.web.admission import subject_of
from pagent.web.handover import HandedOver
from pagent.web.http import HttpConnection
from pagent.web.local import plain_errors, text
from pagent.wire.upgrade import RPC_PATH, accept_upgrade


class Accepted(Protocol):
    """A new connection in the accepting role (``pagent.rpc.connection.Connection``)."""

    link: Link
    ready: asyncio.Future[None]

    def start(self) -> None:
        """Start the handshake: the transport is connected."""


Connect = Callable[[], Accepted | None]
ConnectClient = Callable[[Subject], Accepted | None]


def rpc_app(connect: Connect) -> web.Application:
    """Return the application. ``connect`` returns an object for a new link, or None if the agent is shutting down."""

    async def rpc(request: web.Request) -> web.StreamResponse:
        try:
            answer = accept_upgrade(request.path_qs, request.raw_headers)
        except HandshakeRefusedError as error:
            return text(str(error), status=400)
        transport = request.transport
        if transport is None or transport.is_closing():
            return text("the connection is closed", status=400)
        connection = connect()
        if connection is None:
            return text("shutting down", status=503)
        http = transport.get_protocol()
        assert isinstance(http, HttpConnection)
        received = http.hand_over(connection.link, answer)
        _keep_place(connection, http.place)
        connection.start()
        if received:
            connection.link.data_received(received)
        return text("")  # not sent: aiohttp has no connection any more

    app = web.Application(middlewares=[plain_errors])
    app.router.add_get(RPC_PATH, rpc, allow_head=False)
    return app


async def accept_client(connect: ConnectClient, request: web.Request) -> web.StreamResponse:
    """Make a link of a request to a router's HTTP API, where clients dial in."""
    try:
        answer = accept_upgrade(request.path_qs, request.raw_headers)
    except HandshakeRefusedError as error:
        return text(str(error), status=400)
    if request.transport is None:  # first: a connection that never has a transport would not end
        return text("the connection is closed", status=400)
    connection = connect(subject_of(request))
    if connection is None:
        return text("shutting down", status=503)
    http = request.protocol
    assert isinstance(http, HandedOver)
    http.become(connection.link, answer)
    connection.start()
    return text("")  # not sent: aiohttp has no connection any more


def _keep_place(connection: Accepted, place: Place) -> None:
    """Keep the link's place at the gate until its handshake is accepted, or until its socket is closed."""
    link = connection.link
    place.expires_with(lambda: link.fail(ProtocolError("no handshake in time")))

    def decided(ready: asyncio.Future[None]) -> None:
        if not ready.cancelled() and ready.exception() is None:
            place.leave(known=True)

    connection.ready.add_done_callback(decided)
    link.closed.add_done_callback(lambda _: place.leave())
