"""The PROXY protocol, version 2: a header with which a proxy names the client of a connection that it passes on.

It is read from trusted addresses only, and only there it is expected. The format is that of haproxy's
``proxy-protocol.txt``, section 2.2: a signature, a version and command, a family, a length, and addresses; what may
follow them is skipped.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final, NamedTuple

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED: Final = 16
#: More than any proxy sends; the format has 64 KiB.
_LENGTH_MAX: Final = 4096
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
#: Address family and bytes of an address, by the family of TCP over IPv4 and over IPv6.
_FAMILIES: Final = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}


class ProxyHeader(NamedTuple):
    """``length``: its bytes. ``address`` is empty if the proxy speaks for itself, as for a health check."""

    length: int
    address: str
    port: int


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Return the header that ``data`` begins with, None if it is incomplete; ValueError if there is none."""
    if not SIGNATURE.startswith(data[: len(SIGNATURE)]):
        raise ValueError("no PROXY protocol header of version 2")
    if len(data) < _FIXED:
        return None
    command, family = data[12], data[13]
    length = _FIXED + int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY) or length > _LENGTH_MAX:
        raise ValueError("the PROXY protocol header is not valid")
    if len(data) < length:
        return None
    if command == _LOCAL or family not in _FAMILIES:
        return ProxyHeader(length, "", 0)
    af, size = _FAMILIES[family]
    if length < _FIXED + 2 * size + 4:
        raise ValueError("the PROXY protocol header is too short for its addresses")
    address = socket.inet_ntop(af, data[_FIXED : _FIXED + size])
    at = _FIXED + 2 * size
    return ProxyHeader(length, address, int.from_bytes(data[at : at + 2], "big"))


async def receive_proxy_header(sock: socket.socket) -> ProxyHeader:
    """Read the header that a connection begins with, and no byte after it; ValueError or OSError if there is none.

    The bytes after the header may be a TLS handshake, which reads the socket itself.
    """
    loop = asyncio.get_running_loop()
    data = b""
    missing = _FIXED
    while missing:
        piece = await loop.sock_recv(sock, missing)
        if not piece:
            raise ValueError("the connection ended within its PROXY protocol header")
        data += piece
        header = read_proxy_header(data)
        if header is not None:
            return header
        length = _FIXED + int.from_bytes(data[14:16], "big") if len(data) >= _FIXED else _FIXED
        missing = length - len(data)
    raise AssertionError("a whole header is read, or is not valid")
