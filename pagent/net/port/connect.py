"""Connect to a port of a job on this host's loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from pagent.limits import CONNECT_TIMEOUT_S
from pagent.net.port.connection import PortConnection
from pagent.net.port.user import PortUser
from pagent.runtime.silence import SilenceLimit

#: The addresses at which a job's port is tried, in this order.
_LOOPBACK: Final = ("127.0.0.1", "::1")
#: The server name for TLS: an address is none (RFC 6066 section 3).
_SERVER_NAME: Final = "localhost"


async def connect_port(
    port: int,
    user: PortUser,
    made: Callable[[], None] | None = None,
    *,
    resets: bool = False,
    tls: ssl.SSLContext | None = None,
) -> PortConnection:
    """Connect to a port of a job on this host's loopback: at 127.0.0.1, or at ::1 if that refuses.

    All traffic to jobs' ports uses this. ``made`` is called before the job can have sent anything; ``resets`` is as for
    :class:`PortConnection`; ``tls``: if the job speaks TLS.

    :raises OSError: the job does not listen there, or does not accept in time (TimeoutError).
    """
    async with SilenceLimit(CONNECT_TIMEOUT_S):
        try:
            return await _connect(_LOOPBACK[0], port, PortConnection(user, made, resets=resets), tls)
        except ConnectionRefusedError as refused:
            try:
                return await _connect(_LOOPBACK[1], port, PortConnection(user, made, resets=resets), tls)
            except OSError:  # no job listens there either, or the host has no IPv6
                raise refused from None


async def _connect(host: str, port: int, connection: PortConnection, tls: ssl.SSLContext | None) -> PortConnection:
    loop = asyncio.get_running_loop()
    try:
        if tls is None:
            await loop.create_connection(lambda: connection, host, port)
        else:
            await loop.create_connection(lambda: connection, host, port, ssl=tls, server_hostname=_SERVER_NAME)
    except BaseException:
        connection.abort()  # it may have been made just when the task was cancelled
        raise
    return connection
