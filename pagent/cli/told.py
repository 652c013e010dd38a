"""A foreground command's way to end: by itself, or because somebody tells it to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import click


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
        click.echo("pagent: ending; once more ends it at once", err=True)
        task.cancel()

    with _signals(tell):
        try:
            return await work(hurry)
        except asyncio.CancelledError:
            if not told:
                raise
            task.uncancel()
            return 0


@contextmanager
def _signals(tell: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    taken = [signal.SIGINT, signal.SIGTERM]
    # Under nohup it is ignored, and is to stay so.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        taken.append(signal.SIGHUP)
    for number in taken:
        loop.add_signal_handler(number, tell)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
