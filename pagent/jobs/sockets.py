"""Find the sockets of this host that listen on a TCP port, in the table of the system.

On Linux that is /proc/net/tcp and tcp6 (proc(5)), elsewhere psutil, which may lack the permission. Only sockets that
a connection to 127.0.0.1 or ::1 can reach count. The functions block, and may be called in any thread.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

import psutil

_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")

#: Addresses whose sockets get connections to 127.0.0.1, and to ::1. One of `::` may get both.
_FOUR: Final = frozenset(("127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0"))
_SIX: Final = frozenset(("::1", "::"))


class ListeningSocket(NamedTuple):
    """A row of the table. ``holder``: the inode of the socket (Linux) or the pid of its process.

    ``user``: the uid of its creator, None if the system does not list it.
    """

    holder: int
    user: int | None
    address: str
    port: int


def listeners(port: int) -> list[ListeningSocket] | None:
    """Return the sockets that a connection to the port of the loopback may reach; None if the system hides them."""
    return _tabled(port) if sys.platform == "linux" else _asked(port)


def reached(found: Collection[ListeningSocket]) -> list[ListeningSocket]:
    """Return those of ``found`` that the agent's connections reach: it tries ::1 only where 127.0.0.1 refuses."""
    return [listener for listener in found if listener.address in _FOUR] or list(found)


def holds(pid: int, found: Collection[ListeningSocket]) -> bool | None:
    """Return whether the process has one of these sockets. None if the agent may not look it up."""
    if sys.platform != "linux":
        return any(listener.holder == pid for listener in found)
    try:
        return not {listener.holder for listener in found}.isdisjoint(inodes(pid))
    except PermissionError:
        return None


# --- Linux --------------------------------------------------------------------------------------------

#: Local address, remote address, state (0A is LISTEN), queues, timer, retransmits, user, timeout, inode.
_ROW: Final = rb": ([0-9A-F]+):(%b) [0-9A-F]+:0000 0A \S+ \S+ \S+ +(\d+) +\d+ (\d+) "
_EVERY_PORT: Final = re.compile(_ROW % b"[0-9A-F]{4}")


def table() -> list[ListeningSocket]:
    """Return all rows of the table, of all addresses (Linux)."""
    return _rows(_EVERY_PORT) or []


def _tabled(port: int) -> list[ListeningSocket] | None:
    found = _rows(re.compile(_ROW % (b"%04X" % port)))
    return None if found is None else [listener for listener in found if listener.address in _FOUR | _SIX]


def _rows(row: re.Pattern[bytes]) -> list[ListeningSocket] | None:
    found: list[ListeningSocket] = []
    known = False
    for name in _TABLES:
        with suppress(OSError), open(name, "rb") as file:  # tcp6: there is no IPv6
            text = file.read()
            known = True
            found += [
                ListeningSocket(int(inode), int(user), _address(local), int(port, 16))
                for local, port, user, inode in row.findall(text)
            ]
    return found if known else None


def _address(text: bytes) -> str:
    """Return an address that is in the table as words of 32 bits, each in the byte order of the machine."""
    packed = b"".join(int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def inodes(pid: int) -> Iterator[int]:
    """Yield the inodes of the sockets that a process has open (Linux). PermissionError if it may not be read."""
    folder = f"/proc/{pid}/fd"
    with suppress(FileNotFoundError, ProcessLookupError):
        for name in os.listdir(folder):
            with suppress(FileNotFoundError, ProcessLookupError):
                target = os.readlink(f"{folder}/{name}")
                if target.startswith("socket:["):
                    yield int(target[8:-1])


# --- elsewhere ----------------------------------------------------------------------------------------


def _asked(port: int) -> list[ListeningSocket] | None:
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    return [
        ListeningSocket(connection.pid, None, connection.laddr.ip, port)
        for connection in connections
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr.port == port
        and connection.laddr.ip in _FOUR | _SIX
        and connection.pid is not None
    ]
