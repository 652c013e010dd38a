"""Options and queries of the socket below a connection; none of them applies to a transport without a socket."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from collections import deque
from contextlib import suppress
from typing import Any, Final

from pagent.limits import KIB

#: Bytes of a job that the kernel keeps until they are read. By default it keeps megabytes: a job writes them without a
#: pause while others on its core wait, and they have left the caches when they are read.
PORT_RECEIVE: Final = 256 * KIB

#: Values of SO_LINGER: a close drops unsent data and resets the connection; a close sends it in the background.
RESET: Final = struct.pack("ii", 1, 0)
FLUSH: Final = struct.pack("ii", 0, 0)


def limit_receive_buffer(transport: asyncio.BaseTransport) -> None:
    """Let the kernel keep ``PORT_RECEIVE`` bytes of unread data."""
    if (sock := _socket(transport)) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PORT_RECEIVE)


def set_linger(transport: asyncio.BaseTransport, how: bytes) -> None:
    """Set the effect of a close on unsent data: ``RESET`` or ``FLUSH``."""
    # The connection may be gone already; uvloop's transport has a descriptor below 0 then.
    with suppress(OSError, ValueError):
        if (sock := _socket(transport)) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)


def read_rest(transport: asyncio.BaseTransport) -> deque[bytes]:
    """Return the data that the job sent before a write to it failed.

    A job that answers without reading all of a body and closes resets the connection. The loop then gives it up at the
    first failed write, with the answer still in the kernel (RFC 9112 section 9.6 warns servers of this).
    """
    rest: deque[bytes] = deque()
    sock = _socket(transport)
    if sock is None:
        return rest
    try:
        while data := os.read(sock.fileno(), PORT_RECEIVE):
            rest.append(data)
    except (OSError, MemoryError):
        pass  # no more data, the reset itself, or no memory for it: the end of the connection has to be reported
    return rest


def has_error(transport: asyncio.BaseTransport) -> bool:
    """Return whether the kernel knows that the connection has broken; the loop meets that at its next write."""
    sock = _socket(transport)
    return sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def is_readable(transport: asyncio.BaseTransport) -> bool:
    """Return whether there is data, or the end, that the loop may not have seen yet. One system call."""
    sock = _socket(transport)
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _socket(transport: asyncio.BaseTransport) -> Any:
    return transport.get_extra_info("socket")
