"""TCP connections that do not leave this host.

Many hosts have a congestion control that models the network (BBR): it measures each segment and paces what it sends by
timers. Nothing is lost on the loopback and there is no rate to be found, so this is only work: a quarter of the CPU
time of a byte. Reno, which every kernel has and anybody may choose (tcp(7)), does nothing until something is lost.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress
from typing import Final

_CONGESTION_CONTROL: Final[int | None] = getattr(socket, "TCP_CONGESTION", None)
_RENO: Final = b"reno"


def choose_reno(transport: asyncio.BaseTransport) -> None:
    """For a connection whose peer has an address of the loopback; any other is as the operator has it."""
    # It is gone (uvloop's has a descriptor below 0 then), or Reno is forbidden here.
    with suppress(OSError, ValueError):
        end = transport.get_extra_info("socket")
        if _CONGESTION_CONTROL is not None and end is not None and _is_local(transport.get_extra_info("peername")):
            end.setsockopt(socket.IPPROTO_TCP, _CONGESTION_CONTROL, _RENO)


def _is_local(address: object) -> bool:
    """``address``: as a socket names its peer; that of a socket in the file system, or of none, is not."""
    if not isinstance(address, tuple):
        return False
    peer = ipaddress.ip_address(address[0])
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        return peer.ipv4_mapped.is_loopback
    return peer.is_loopback
