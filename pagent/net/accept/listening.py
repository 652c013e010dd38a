"""Listening sockets: of one address, of all addresses of a name, or of all addresses of both families."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from pagent.limits import LISTEN_BACKLOG

_ANY_IPV6: Final = "::"
_ANY_IPV4: Final = "0.0.0.0"
#: A port that is free for one address may be taken for the next. Attempts with another port.
_PORT_TRIES: Final = 16

_Address = tuple[socket.AddressFamily, Any]


def listen(interface: str | None, port: int) -> list[socket.socket]:
    """Return non-blocking listening sockets, all with the same port, which the kernel chooses for 0.

    ``interface``: an address or a name; None, empty and ``::`` are all addresses of both families. OSError if the port
    is not available.
    """
    addresses = _addresses(interface, port)
    for remaining in reversed(range(_PORT_TRIES)):
        try:
            return _listen_at(addresses)
        except OSError as error:
            if port != 0 or len(addresses) == 1 or error.errno != errno.EADDRINUSE or not remaining:
                raise
    raise AssertionError("the last try returns or raises")


def _addresses(interface: str | None, port: int) -> Sequence[_Address]:
    if not interface and not socket.has_dualstack_ipv6():
        interface = _ANY_IPV4
    found = socket.getaddrinfo(interface or _ANY_IPV6, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _listen_at(addresses: Sequence[_Address]) -> list[socket.socket]:
    with ExitStack() as stack:
        made = []
        chosen = 0
        for family, address in addresses:
            sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            _bind(sock, (address[0], address[1] or chosen, *address[2:]))
            chosen = sock.getsockname()[1]
            made.append(sock)
        stack.pop_all()
        return made


def _bind(sock: socket.socket, address: tuple[Any, ...]) -> None:
    if os.name == "posix" and sys.platform != "cygwin":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != _ANY_IPV6))
    sock.setblocking(False)
    sock.bind(address)
    sock.listen(LISTEN_BACKLOG)
