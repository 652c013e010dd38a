"""Resolve names of hosts in threads of our own, and connect to hosts.

The event loop has a resolver, but libuv ends the process if the system has no thread left for it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from pagent.runtime.per_loop import PerLoop
from pagent.runtime.threads import ThreadPool

P = TypeVar("P", bound=asyncio.BaseProtocol)

_THREADS: Final = 2
#: Seconds after which a resolver counts as stuck. Those of glibc give up after about 30 s by default.
_RESOLVED_S: Final = 60.0

_POOLS: Final = PerLoop(lambda: ThreadPool("resolver", _THREADS))


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, the preferred ones first; ``host`` may be an address. OSError."""
    try:
        return _addresses(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:  # it is a name
        return await _pool().run(_addresses, host, port, 0, limit_s=_RESOLVED_S)


async def connect_to(
    host: str,
    port: int,
    make: Callable[[], P],
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> tuple[asyncio.Transport, P]:
    """Connect to the first address of a host that accepts; OSError of the last one."""
    loop = asyncio.get_running_loop()
    *others, last = await resolve(host, port)
    for address in others:
        with suppress(OSError):
            return await loop.create_connection(make, address, port, ssl=tls, server_hostname=server_name)
    return await loop.create_connection(make, last, port, ssl=tls, server_hostname=server_name)


def _pool() -> ThreadPool:
    return _POOLS.current()


def _addresses(host: str, port: int, flags: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(_text(entry[4]) for entry in found))


def _text(address: tuple[Any, ...]) -> str:
    """Return the text of an address. One of a single network (RFC 4007), such as fe80::1, names its interface."""
    host, _, *of_ipv6 = address
    return f"{host}%{of_ipv6[1]}" if of_ipv6 and of_ipv6[1] else str(host)
