"""How long the peer of a TCP connection has sent nothing, as the kernel knows it."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

#: ``tcpi_last_data_recv`` of ``struct tcp_info`` (linux/tcp.h): milliseconds, after 8 bytes and 11 other numbers.
_LAST_DATA_RECEIVED: Final = struct.Struct("=52xI")


def silent_s(sock: socket.socket) -> float | None:
    """Return the seconds since data came, or since the connection was made if none did; None if nothing tells."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED.size)
    except OSError:  # not TCP
        return None
    if len(info) < _LAST_DATA_RECEIVED.size:
        return None
    (milliseconds,) = _LAST_DATA_RECEIVED.unpack(info)
    return float(milliseconds) / 1000
