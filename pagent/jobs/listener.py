"""Identify the socket that gets the connections to a loopback port, by a number that is never used again (Linux).

A look-up takes some microseconds, because the kernel searches for one socket (sock_diag(7)) and does not list all. So
it can be made on the event loop, before each new connection.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from typing import Final

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_ERROR: Final = 2
_LISTEN: Final = 1 << 10
_ANY_COOKIE: Final = 0xFFFF_FFFF_FFFF_FFFF

#: struct nlmsghdr; inet_diag_req_v2; then ports in network order, addresses, interface and cookie of inet_diag_sockid.
_HEADER: Final = struct.Struct("=IHHII")
_ASKED: Final = struct.Struct("=BBBBI")
_ENDS: Final = struct.Struct("!HH16s16s")
_SOCKET: Final = struct.Struct("=IQ")
#: The cookie in an answer: after the header, four bytes, the ends and the interface.
_COOKIE: Final = struct.Struct("=Q")
_COOKIE_AT: Final = _HEADER.size + 4 + _ENDS.size + 4

_ADDRESSES: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def listener_of(port: int) -> int | None:
    """Return the number of the socket that a connection to the port reaches; 0 if none listens, None if unknown."""
    if sys.platform != "linux":
        return None
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asking:
            asking.setblocking(False)
            for family, address in _ADDRESSES:
                if found := _ask(asking, family, socket.inet_pton(family, address), port):
                    return found
    except (OSError, struct.error):  # no such sockets here, or none for us
        return None
    return 0


def _ask(asking: socket.socket, family: int, address: bytes, port: int) -> int:
    """Return the listening socket that a connection from the port 0 of this address would reach; 0 for none."""
    question = _ASKED.pack(family, socket.IPPROTO_TCP, 0, 0, _LISTEN) + _ENDS.pack(port, 0, address, address)
    question += _SOCKET.pack(0, _ANY_COOKIE)
    asking.send(_HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _REQUEST, 0, 0) + question)
    answer = asking.recv(4096)
    if _HEADER.unpack_from(answer)[1] == _ERROR:
        number: int = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if number != errno.ENOENT:
            raise OSError(number, os.strerror(number))
        return 0
    cookie: int = _COOKIE.unpack_from(answer, _COOKIE_AT)[0]
    return cookie
