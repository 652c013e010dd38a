"""End a job that is idle: ``job_create(idle_after=...)``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pagent.jobs.activity import JobActivity
from pagent.runtime.silence import SilenceTimer


class IdleStop:
    """Calls ``stop`` once when the job has been idle for ``idle_after_s``.

    Traffic sets no timer: when the timer is due, it looks when the job was last in use.
    """

    def __init__(self, activity: JobActivity, idle_after_s: float, stop: Callable[[], None]) -> None:
        # For life.
        self._activity = activity
        self._idle_after_s = idle_after_s
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        # Until the end.
        self._timer = SilenceTimer(idle_after_s, self._due)

    def cancel(self) -> None:
        """End the watch."""
        self._timer.cancel()

    def _due(self) -> None:
        end = max(self._begun, self._activity.idle_since()) + self._idle_after_s
        left_s = end - self._loop.time()
        if left_s > 0:
            self._timer = SilenceTimer(left_s, self._due)
        else:
            self._stop()
