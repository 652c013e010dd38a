"""Pause the reading of a link whose peer has no credit, while a receiver or a disk catches up.

Such a peer may send faster than a job or a disk takes its data, and what is left would be written to a spool and read
back. A short pause spares that, but every stream of the link waits for it. So pauses have a time budget:

* A pause has a limit: ``THROTTLE_JOB_S`` or ``THROTTLE_DISK_S``. After it the link is read for at least a
  ``THROTTLE_READ_SHARE``-th of its length.
* A pause in vain, at whose limit the stream has not caught up, is charged to the budget of the link, which refills by
  ``THROTTLE_REFILL`` of the time. From the second in a row on, the stream may not ask again for a while, twice as
  long each time.

What is slower than that goes to the spool. A spool is the last resort: its data has no other place than memory. So one
whose disk is behind may pause the link also without budget, once for each ``THROTTLE_STEP`` bytes that it was given.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from pagent.limits import KIB

#: A stream asks for a pause in the reading of its link when it holds this many bytes.
STREAM_PAUSE_FROM: Final = 512 * KIB
#: Limit of one pause for a job, which catches up in it if it takes 100 MB/s.
THROTTLE_JOB_S: Final = 0.005
#: Limit of one pause for a disk, which writes about 4 MiB at a time. A disk of 100 MB/s has written that by then, so an
#: upload is not written twice. The other streams of the link wait as long.
THROTTLE_DISK_S: Final = 0.05
#: After a pause the link is read for at least its length divided by this. A peer that sends 1 GB/s to a disk of
#: 100 MB/s has to be paused for nine tenths of the time.
THROTTLE_READ_SHARE: Final = 19
#: Pauses in vain: seconds of them at most at once, and the part of the time at most in the long run.
THROTTLE_BUDGET_S: Final = 0.2
THROTTLE_REFILL: Final = 0.2
#: After two pauses in vain their stream does not ask again for so many times the length of one, then twice as long each
#: time, up to the second.
THROTTLE_REST: Final = 10
THROTTLE_REST_MAX_S: Final = 1.6
#: A spool whose disk is slow takes at least this many bytes between two pauses: a link moves on at 5 MB/s.
THROTTLE_STEP: Final = 512 * KIB


OWNER: Final = "read throttle"


class Pausable(Protocol):
    """A link: its reading is paused until each owner that paused it has resumed it."""

    def pause_reading(self, owner: str) -> None: ...

    def resume_reading(self, owner: str) -> None: ...


class Behind(Protocol):
    """A queue that is behind. The attributes belong to the throttle; both begin as 0."""

    pause_after: float  # when it may ask for a pause again
    pause_rest_s: float  # how long it has to wait if its next pause is in vain; 0 if its last one was not


class ReadThrottle:
    """The one throttle of a link. One queue at a time owns the pause."""

    def __init__(self, link: Pausable) -> None:
        # For life.
        self._link = link
        self._loop = asyncio.get_running_loop()
        # The budget: seconds of pauses in vain that are left, as of `_counted_at`.
        self._left = THROTTLE_BUDGET_S
        self._counted_at = self._loop.time()
        self._read_until = 0.0
        self._step = THROTTLE_STEP  # bytes that spools were given since the last pause
        # The pause under way.
        self._owner: Behind | None = None
        self._began = 0.0
        self._limit_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def pause(self, queue: Behind, limit_s: float) -> None:
        """Pause reading for at most ``limit_s`` seconds, if the budget allows it."""
        if self._owner is None:
            now = self._loop.time()
            if now >= queue.pause_after and now >= self._read_until and self._budget(now) > 0:
                self._begin(queue, limit_s, now)

    def pause_for_spool(self, spool: Behind, size: int) -> None:
        """Pause reading because the disk of a spool is behind, which was given ``size`` bytes more."""
        self._step += size
        if self._owner is None and self._step >= THROTTLE_STEP:
            self._begin(spool, THROTTLE_DISK_S, self._loop.time())

    def caught_up(self, queue: Behind) -> None:
        """Resume reading: the queue is short again, or gone."""
        if self._owner is queue:
            queue.pause_rest_s = 0.0
            self._end()

    def _budget(self, now: float) -> float:
        self._left = min(THROTTLE_BUDGET_S, self._left + (now - self._counted_at) * THROTTLE_REFILL)
        self._counted_at = now
        return self._left

    def _begin(self, queue: Behind, limit_s: float, now: float) -> None:
        self._owner = queue
        self._began = now
        self._limit_s = limit_s
        self._step = 0
        self._timer = self._loop.call_later(limit_s, self._in_vain)
        self._link.pause_reading(OWNER)

    def _in_vain(self) -> None:
        queue = self._owner
        assert queue is not None
        now = self._loop.time()
        queue.pause_after = now + queue.pause_rest_s
        queue.pause_rest_s = min(2 * queue.pause_rest_s, THROTTLE_REST_MAX_S) or THROTTLE_REST * self._limit_s
        self._left = max(self._budget(now) - (now - self._began), -THROTTLE_BUDGET_S)
        self._end()

    def _end(self) -> None:
        self._owner = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        self._read_until = now + (now - self._began) / THROTTLE_READ_SHARE
        self._link.resume_reading(OWNER)
