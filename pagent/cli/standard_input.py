"""Read the standard input of this process without blocking the loop, whatever it is."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

_BYTES: Final = 65_536


async def input_chunks() -> AsyncIterator[bytes]:
    """Yield the bytes of standard input until its end. Nothing is read before the last bytes are taken."""
    if sys.stdin is None:
        return
    loop = asyncio.get_running_loop()
    while True:
        done: asyncio.Future[bytes] = loop.create_future()
        # A daemon thread: the process can exit while the thread waits for input.
        threading.Thread(target=_read, args=(loop, done), name="input", daemon=True).start()
        data = await done
        if not data:
            return
        yield data


def _read(loop: asyncio.AbstractEventLoop, done: asyncio.Future[bytes]) -> None:
    try:
        data = os.read(0, _BYTES)
    except OSError:  # the terminal is gone
        data = b""

    def settle() -> None:
        if not done.done():
            done.set_result(data)

    with suppress(RuntimeError):  # the loop is closed: the command has ended
        loop.call_soon_threadsafe(settle)
