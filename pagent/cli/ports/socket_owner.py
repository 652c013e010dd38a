"""Find the user at the other end of a connection on the loopback."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Final

_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
#: proc(5): local port, remote port, state (01 is ESTABLISHED), queues, timer, retransmits, user.
_ROW: Final = rb": [0-9A-F]+:%04X [0-9A-F]+:%04X 01 \S+ \S+ \S+ +(\d+) "


def owner_of_peer(writer: asyncio.StreamWriter) -> int | None:
    """Return the uid of the peer's socket; None if the system does not list it."""
    return owner_of(writer.get_extra_info("peername")[1], writer.get_extra_info("sockname")[1])


def owner_of(port: int, remote_port: int) -> int | None:
    """Return the uid of the socket with these ports of the loopback; None if the system does not list it."""
    row = re.compile(_ROW % (port, remote_port))
    for table in _TABLES:
        with suppress(OSError), open(table, "rb") as file:
            if found := row.search(file.read()):
                return int(found[1])
    return None
