"""Run a function that may block for good in a thread that does not keep the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def in_daemon_thread(function: Callable[[], T], name: str) -> T:
    """Return the result of a function, or raise its OSError. The process can exit while the function is blocked."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = function()
        except OSError as error:
            _settle_in(loop, done, partial(done.set_exception, error))
        else:
            _settle_in(loop, done, partial(done.set_result, result))

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done


def _settle_in(loop: asyncio.AbstractEventLoop, done: asyncio.Future[T], settle: Callable[[], None]) -> None:
    """Settle a future from a thread, unless its waiter was cancelled meanwhile."""
    with suppress(RuntimeError):  # the loop is closed: the command has ended
        loop.call_soon_threadsafe(lambda: None if done.done() else settle())
