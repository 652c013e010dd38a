"""Time limits for the silence of a peer that do not count a stall of this process.

A process can be stopped (SIGSTOP, a suspended host, a callback that takes long). When it runs again, its timers are due
before its sockets are read, and bytes that arrived meanwhile look like silence. A timer of this module that fires late
therefore waits once more, so that the event loop reads first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

#: A timer that fires later than this, in seconds, was held up by a stall of the process, and not by a busy loop.
STALL_S: Final = 1.0
#: Seconds after a stall in which what has arrived meanwhile is read and handled.
GRACE_S: Final = 5.0


class SilenceTimer:
    """Calls ``expire(*args)`` after ``seconds``. If a stall has made it late, it waits once more first.

    The second wait is as long as the first one, and at most ``GRACE_S``. Its end always makes the call, late or not.
    """

    def __init__(self, seconds: float, expire: Callable[..., object], *args: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self.expire: Final = expire
        self.args: Final = args
        self._due = self._loop.time() + max(seconds, 0.0)
        self._timer = self._loop.call_later(max(seconds, 0.0), self._over)

    def cancel(self) -> None:
        """Do not call."""
        self._timer.cancel()

    def _over(self) -> None:
        self._timer.cancel()  # the handle of asyncio keeps its callback, and so this timer, in a cycle
        if self._loop.time() - self._due > STALL_S:
            self._timer = self._loop.call_later(min(self._seconds, GRACE_S), self.expire, *self.args)
        else:
            self.expire(*self.args)


class SilenceLimit:
    """``asyncio.timeout`` that counts no stall of this process: see :class:`SilenceTimer`. None: no limit."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        # In the block. The timer refers to the limit: it is dropped at the end, so that no cycle keeps the task alive.
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0  # cancellations from outside when the block began
        self._timer: SilenceTimer | None = None
        self._expired = False

    async def __aenter__(self) -> SilenceLimit:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        if self._seconds is not None:
            self._timer = SilenceTimer(self._seconds, self._expire, task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        timer, self._timer = self._timer, None
        task, self._task = self._task, None
        if timer is not None:
            timer.cancel()
        if self._expired and task is not None:
            from_outside = task.uncancel() > self._cancelling
            if kind is asyncio.CancelledError and not from_outside:
                raise TimeoutError from error

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self._expired = True
        task.cancel()


async def silence_for(seconds: float) -> None:
    """Sleep for a time in which a peer could be heard: see :class:`SilenceTimer`."""
    over = asyncio.get_running_loop().create_future()
    timer = SilenceTimer(seconds, _wake, over)
    try:
        await over
    finally:
        timer.cancel()


def _wake(over: asyncio.Future[None]) -> None:
    if not over.done():  # otherwise its task is cancelled, and has not run since
        over.set_result(None)
