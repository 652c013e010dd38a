"""Dialling a peer, and the link as a context."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pagent.errors import HandshakeRefusedError, LinkClosedError
from pagent.net.dial import dial, parse_address
from pagent.rpc.connection import Connection
from pagent.rpc.methods import methods_of
from pagent.wire import identity


@asynccontextmanager
async def connect(
    address: str,
    *,
    token: str,
    uid: str | None = None,
    name: str = "client",
    service: object | None = None,
    tls: ssl.SSLContext | None = None,
    extensions: tuple[str, ...] = identity.EXTENSIONS,
) -> AsyncIterator[Connection]:
    """A link to an agent that listens, or to any accepting peer; closed cleanly (1000) behind the block.

    :param address: ``host:port``, ``ws://host:port/path`` or ``wss://...``.
    :param service: an object whose decorated methods the other side may call.
    :raises DialError: no link could be made; HandshakeRefusedError: not with this token.
    """
    methods = methods_of(service) if service is not None else {}
    data = identity.user_data(uid or uuid.uuid4().hex, name, token=token)
    connection = Connection(dialled=True, user_data=data, methods=methods, extensions=extensions)
    await dial(parse_address(address), connection.link, tls=tls)
    connection.start()
    try:
        try:
            await connection.ready
        except LinkClosedError as error:
            raise HandshakeRefusedError(f"{address} refused the handshake: {error.reason}") from None
        yield connection
    finally:
        await connection.close()
