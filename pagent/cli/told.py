"""A foreground command's way to end: by itself, or because somebody tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pagent.cli.terminal import say
from pagent.runtime.signals import end_signals


async def until_told(work: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    """Do ``work(hurry)``; returns its exit code.

    The first SIGINT, SIGTERM or SIGHUP cancels it and is a good end, 0. What it does in its ``finally`` has its time
    until a second signal: that sets ``hurry``.
    """
    task = asyncio.current_task()
    assert task is not None, "called in a coroutine"
    hurry = asyncio.Event()
    told = False

    def tell() -> None:
        nonlocal told
        if told:
            hurry.set()
            return
        told = True
        task.cancel()
        say("shutting down; press Ctrl-C again to force")

    with end_signals(tell):
        try:
            return await work(hurry)
        except asyncio.CancelledError:
            if not told:
                raise
            task.uncancel()
            return 0
