"""The end of a foreground command: its work is done, or a signal arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from pagent.cli.terminal import say
from pagent.runtime.signals import end_signals

#: What a shell returns for a program that Ctrl-C has ended.
INTERRUPTED: Final = 130


async def run_until_signalled(work: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    """Run ``work(force)`` and return its exit code.

    The first SIGINT, SIGTERM or SIGHUP cancels the work, and the exit code is 0. The work may take its time to clean up
    in ``finally``. A second signal sets ``force``: the work then ends at once.
    """
    task = asyncio.current_task()
    assert task is not None, "called in a coroutine"
    force = asyncio.Event()
    signalled = False

    def end() -> None:
        nonlocal signalled
        if signalled:
            force.set()
            return
        signalled = True
        task.cancel()
        say("shutting down; press Ctrl-C again to force")

    with end_signals(end):
        try:
            return await work(force)
        except asyncio.CancelledError:
            if not signalled:
                raise
            task.uncancel()
            return 0


async def run_until_interrupted(work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run ``work()`` and return its exit code. A signal cancels the work; the exit code is then `INTERRUPTED`."""
    task = asyncio.current_task()
    assert task is not None, "called in a coroutine"
    signalled = False

    def end() -> None:
        nonlocal signalled
        if not signalled:
            signalled = True
            task.cancel()

    with end_signals(end):
        try:
            return await work()
        except asyncio.CancelledError:
            if not signalled:
                raise
            task.uncancel()
            return INTERRUPTED
