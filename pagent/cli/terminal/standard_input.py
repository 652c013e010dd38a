"""Read the standard input of this process without blocking the loop, whatever it is."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import AsyncIterator
from typing import Final

from pagent.cli.terminal.daemon_thread import in_daemon_thread

_BYTES: Final = 65_536


async def input_chunks() -> AsyncIterator[bytes]:
    """Yield the bytes of standard input until its end. Nothing is read before the last bytes are taken.

    OSError: it cannot be read, because it is a folder or because its terminal is gone.
    """
    while sys.stdin is not None and (data := await in_daemon_thread(_read, "input")):
        yield data


def _read() -> bytes:
    while True:
        try:
            return os.read(0, _BYTES)
        except BlockingIOError:  # another program that shares it has set O_NONBLOCK
            select.select([0], [], [])
