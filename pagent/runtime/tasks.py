"""The one place that creates tasks: every task has an owner, which ends it and logs its failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from pagent.runtime.silence import SilenceLimit

T = TypeVar("T")

_log = logging.getLogger(__name__)


def retrieve_error(future: asyncio.Future[Any]) -> None:
    """Mark the error of a future as retrieved, so that asyncio does not log it; for ``add_done_callback``."""
    if not future.cancelled():
        future.exception()


async def first_of(future: asyncio.Future[None], event: asyncio.Event) -> None:
    """Wait until the future is done or the event is set. The future is not cancelled."""
    waiting = asyncio.get_running_loop().create_task(event.wait(), name="wait for an event")
    try:
        await asyncio.wait((future, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


class TaskOwner:
    """Creates tasks, holds them, logs their failures, and ends them all together.

    The exception of a task is logged once, with the task's name; cancellation is no failure. After :meth:`close` no
    task can be started.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def is_closed(self) -> bool:
        """Return whether no task can be started any more."""
        return self._closed

    def start(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start ``coro`` as a task of this owner; RuntimeError once the owner is closed."""
        if self._closed:
            coro.close()
            raise RuntimeError(f"{self._name} is closed and starts no task {name}")
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s: task %s failed", self._name, task.get_name(), exc_info=error)

    async def close(self) -> None:
        """Cancel all tasks and wait until each has ended. A task may close its own owner."""
        self._closed = True
        current = asyncio.current_task()
        pending = [task for task in self._tasks if task is not current]
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)


async def event_within(event: asyncio.Event, seconds: float) -> None:
    """Wait until an event is set, for at most this time."""
    with suppress(TimeoutError):
        async with SilenceLimit(seconds):
            await event.wait()
