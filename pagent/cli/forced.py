"""Work at the end of a command that a second Ctrl-C cuts short."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from pagent.runtime.tasks import TaskOwner

T = TypeVar("T")


async def unless_forced(work: Coroutine[Any, Any, T], force: asyncio.Event, default: T) -> tuple[T, bool]:
    """Return the result of the work, and whether it was completed before ``force`` was set; otherwise ``default``."""
    tasks = TaskOwner("the end")
    task = tasks.start(work, name="work")
    try:
        await asyncio.wait((task, tasks.start(force.wait(), name="force")), return_when=asyncio.FIRST_COMPLETED)
        return (task.result(), True) if task.done() else (default, False)
    finally:
        await tasks.close()
