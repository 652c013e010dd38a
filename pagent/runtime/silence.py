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
        if self._loop.time() - self._due > STALL_S:
            self._timer = self._loop.call_later(min(self._seconds, GRACE_S), self.expire, *self.args)
        else:
            self.expire(*self.args)


class SilenceLimit:
    """``asyncio.timeout`` that counts no stall of this process: see :class:`SilenceTimer`. None: no limit."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._limit = asyncio.timeout(None)
        self._timer: SilenceTimer | None = None

    async def __aenter__(self) -> SilenceLimit:
        await self._limit.__aenter__()
        if self._seconds is not None:
            self._timer = SilenceTimer(self._seconds, self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _expire(self) -> None:
        self._limit.reschedule(asyncio.get_running_loop().time())


async def silence_for(seconds: float) -> None:
    """Sleep for a time in which a peer could be heard: see :class:`SilenceTimer`."""
    over = asyncio.get_running_loop().create_future()
    timer = SilenceTimer(seconds, over.set_result, None)
    try:
        await over
    finally:
        timer.cancel()
