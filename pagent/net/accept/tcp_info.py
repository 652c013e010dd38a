"""The kernel's figures of the peer of a TCP connection: the time of its silence, and the bytes that it has sent."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final, NamedTuple

#: ``tcpi_last_data_recv`` and ``tcpi_bytes_received`` of ``struct tcp_info`` (linux/tcp.h): milliseconds, and bytes.
_FIELDS: Final = struct.Struct("=52xI72xQ")


class PeerData(NamedTuple):
    """``silent_s``: seconds since data came, or since the connection was made if none did; ``bytes``: of all data."""

    silent_s: float
    bytes: int


def received(sock: socket.socket) -> PeerData | None:
    """Return the peer's silence and bytes, data still in the kernel included; None where they are not known."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _FIELDS.size)
    except OSError:  # not TCP, or closed
        return None
    if len(info) < _FIELDS.size:
        return None
    milliseconds, count = _FIELDS.unpack(info)
    return PeerData(float(milliseconds) / 1000, count)
