"""The address of a router for the agents that its pools start."""

from __future__ import annotations

import socket
from typing import Final

from pagent.config.router import RouterServer
from pagent.net.dial import Address

_ALL: Final = ("0.0.0.0", "::")


def server_addresses(server: RouterServer, port: int, *, tls: bool) -> tuple[str, ...]:
    """Return the address of ``server``: its interface, or the name of the host if it listens on all addresses."""
    host = server.interface
    if host is None or host in _ALL:
        host = socket.getfqdn()
    authority = Address(host, port).authority
    return (f"wss://{authority}" if tls else authority,)
