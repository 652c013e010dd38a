"""Connect to a peer: the link is an async context manager."""

from __future__ import annotations

import os
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pagent.errors import DialError, HandshakeRefusedError, LinkClosedError
from pagent.net.dial import choose_proxy, dial, parse_address
from pagent.rpc.connection import Connection
from pagent.rpc.methods import methods_of
from pagent.wire import identity

#: Close codes of a refused handshake: protocol error, policy violation (RFC 6455 section 7.4.1).
_REFUSALS: Final = (1002, 1008)


@asynccontextmanager
async def connect(
    address: str,
    *,
    token: str,
    uid: str | None = None,
    name: str = "client",
    service: object | None = None,
    tls: ssl.SSLContext | None = None,
    proxy: str | None = None,
    extensions: tuple[str, ...] = identity.EXTENSIONS,
) -> AsyncIterator[Connection]:
    """Connect to an agent that listens, or to any other accepting peer. The link is closed with 1000 after the block.

    :param address: ``host:port``, ``ws://host:port/path`` or ``wss://...``.
    :param proxy: an HTTP proxy, ``http://[user:password@]host:port``; None: that of HTTPS_PROXY for a ``wss://``
        address that NO_PROXY does not list.
    :param service: an object whose decorated methods the peer may call.
    :raises ConfigError: ``address`` is invalid.
    :raises DialError: the peer cannot be reached.
    :raises HandshakeRefusedError: the peer does not accept the token.
    """
    methods = methods_of(service) if service is not None else {}
    data = identity.user_data(uid or uuid.uuid4().hex, name, token=token)
    connection = Connection(
        dialled=True, user_data=data, methods=methods, extensions=extensions, instance=uuid.uuid4().hex
    )
    where = parse_address(address)
    await dial(where, connection, tls=tls, proxy=choose_proxy(proxy, where, os.environ))
    try:
        try:
            await connection.ready
        except LinkClosedError as error:
            if error.code in _REFUSALS:
                raise HandshakeRefusedError(f"{address}: {error.reason or error}") from None
            raise DialError(f"{address}: {error}") from None
        yield connection
    finally:
        await connection.close()
