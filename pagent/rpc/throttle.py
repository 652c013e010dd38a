"""Pause the reading of a link whose peer has no credit, while a receiver or a disk catches up.

Such a peer may send faster than a job or a disk takes its data, and the rest would be written to a spool and read back.
A short pause avoids that, but every stream of the link waits for it. So pauses are bounded:

* A queue for a job may pause the link for ``THROTTLE_JOB_S``. After that the link is read for at least a
  ``THROTTLE_READ_SHARE``-th of the time. A pause that reaches its limit before the queue has caught up has failed. Its
  length is charged to the budget of the link, which refills by ``THROTTLE_REFILL`` of the time. From the second failure
  in a row on, the queue may not ask again for a while, twice as long each time. Data that comes faster is spooled.
* A queue for a disk, an upload's or a spool's, may pause the link for ``THROTTLE_DISK_S`` once for each
  ``THROTTLE_STEP`` bytes that it was given. A spool would write to the same disk, so it is no way out. The link moves
  on at ``THROTTLE_STEP / THROTTLE_DISK_S``, however slow the disk is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from pagent.limits import KIB, MIB

#: A stream asks for a pause in the reading of its link when it holds this many bytes.
STREAM_PAUSE_FROM: Final = 512 * KIB
#: Limit of one pause for a job, which catches up in it if it takes 100 MB/s.
THROTTLE_JOB_S: Final = 0.005
#: Limit of one pause for a disk, and the bytes that its queue is given between two: a disk of 20 MB/s keeps up, so an
#: upload is not written twice. The other streams of the link wait as long.
THROTTLE_DISK_S: Final = 0.05
THROTTLE_STEP: Final = MIB
#: After a pause the link is read for at least its length divided by this, before a job may pause it again.
THROTTLE_READ_SHARE: Final = 19
#: Failed pauses: seconds of them at most at once, and the part of the time at most in the long run.
THROTTLE_BUDGET_S: Final = 0.2
THROTTLE_REFILL: Final = 0.2
#: After two failed pauses their stream does not ask again for THROTTLE_REST times the length of one, then twice as long
#: each time, up to THROTTLE_REST_MAX_S.
THROTTLE_REST: Final = 10
THROTTLE_REST_MAX_S: Final = 1.6

OWNER: Final = "read throttle"


class Pausable(Protocol):
    """A link: its reading is paused until each owner that paused it has resumed it."""

    def pause_reading(self, owner: str) -> None: ...

    def resume_reading(self, owner: str) -> None: ...


class Timers(Protocol):
    """The clock and the timers of an event loop."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Any: ...


class ThrottledQueue(Protocol):
    """A queue whose consumer is slow. The attributes belong to the throttle; both begin as 0."""

    pause_after: float  # when it may ask for a pause again
    pause_rest_s: float  # how long it has to wait if its next pause fails; 0 if its last one did not


class ReadThrottle:
    """The only part that pauses the reading of its link for a stream. One queue at a time owns the pause.

    ``timers``: those of the running loop, unless a test has its own.
    """

    def __init__(self, link: Pausable, timers: Timers | None = None) -> None:
        # For life.
        self._link = link
        self._timers: Timers = asyncio.get_running_loop() if timers is None else timers
        # The budget: seconds of failed pauses that are left, as of `_counted_at`.
        self._left_s = THROTTLE_BUDGET_S
        self._counted_at = self._timers.time()
        self._read_until = 0.0
        self._step_bytes = THROTTLE_STEP  # bytes given to spools since the last pause
        # The pause under way.
        self._owner: ThrottledQueue | None = None
        self._began = 0.0
        self._timer: Any = None

    @property
    def budget_s(self) -> float:
        """Seconds of failed pauses that the link has left; below 0 once they are used up."""
        now = self._timers.time()
        self._left_s = min(THROTTLE_BUDGET_S, self._left_s + (now - self._counted_at) * THROTTLE_REFILL)
        self._counted_at = now
        return self._left_s

    def pause_for_job(self, queue: ThrottledQueue) -> None:
        """Pause reading because a job is slow, if the budget allows it."""
        if self._owner is None:
            now = self._timers.time()
            if now >= queue.pause_after and now >= self._read_until and self.budget_s > 0:
                self._begin(queue, THROTTLE_JOB_S, self._fail)

    def pause_for_disk(self, queue: ThrottledQueue, size: int) -> None:
        """Pause reading because a disk is slow; its queue was given ``size`` bytes more."""
        self._step_bytes += size
        if self._owner is None and self._step_bytes >= THROTTLE_STEP:
            self._begin(queue, THROTTLE_DISK_S, self._end)

    def caught_up(self, queue: ThrottledQueue) -> None:
        """Resume reading: the queue is short again, or gone."""
        if self._owner is queue:
            queue.pause_rest_s = 0.0
            self._end()

    def _begin(self, queue: ThrottledQueue, limit_s: float, at_limit: Callable[[], None]) -> None:
        self._owner = queue
        self._began = self._timers.time()
        self._step_bytes = 0
        self._timer = self._timers.call_later(limit_s, at_limit)
        self._link.pause_reading(OWNER)

    def _fail(self) -> None:
        """End a pause for a job at its limit, and charge it."""
        queue = self._owner
        assert queue is not None
        now = self._timers.time()
        queue.pause_after = now + queue.pause_rest_s
        queue.pause_rest_s = min(2 * queue.pause_rest_s, THROTTLE_REST_MAX_S) or THROTTLE_REST * THROTTLE_JOB_S
        self._left_s = max(self.budget_s - (now - self._began), -THROTTLE_BUDGET_S)
        self._end()

    def _end(self) -> None:
        self._owner = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._timers.time()
        self._read_until = now + (now - self._began) / THROTTLE_READ_SHARE
        self._link.resume_reading(OWNER)
