"""Accept one connection of a listening socket, and say when the process has no room for it."""

from __future__ import annotations

import errno
import logging
import socket
from contextlib import suppress
from typing import Final

#: Seconds for which accepting pauses when the process has no descriptor left.
ACCEPT_RETRY_S: Final = 0.5

_log = logging.getLogger(__name__)

_SHORTAGES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class ShortageError(OSError):
    """The process or the system has no descriptor or memory left; the connection waits in the kernel's queue."""


def accept_one(listening: socket.socket) -> tuple[socket.socket, str] | None:
    """Return the next connection, and the IP address of its peer; None if none waits. ShortageError.

    The socket does not block, and sends small packets at once.
    """
    try:
        sock, address = listening.accept()
    except (BlockingIOError, InterruptedError, ConnectionAbortedError):
        return None
    except OSError as error:
        if error.errno not in _SHORTAGES:
            raise
        _log.error("no connection can be accepted: %s", error.strerror)
        raise ShortageError(error.errno, error.strerror) from None
    sock.setblocking(False)
    with suppress(OSError):  # the peer may be gone already
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock, address[0]
