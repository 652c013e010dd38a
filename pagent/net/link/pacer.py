"""How much bulk may be under way on a link that others use as well.

What has been written to a link cannot be overtaken any more, and most of it lies in no buffer of ours: the kernels of
both ends take megabytes before a slow reader holds anybody up. So marks are sent between the bytes of bulk (WebSocket
pings, which every peer answers in turn, RFC 6455 section 5.5.2), and what lies behind the last answered one is bounded.
The bound is twice what the way holds, of what is measured of it: the highest rate of late, the shortest time there and
back (as in BBR, Cardwell et al. 2016). One stream that has a link for itself is left alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from pagent.limits import KIB, MIB

#: Bounds of the bulk bytes that are under way on a link that several streams use.
PACE_LEAST: Final = 256 * KIB
PACE_MOST: Final = 64 * MIB
#: Seconds that the queue of bulk data may delay other data.
PACE_QUEUE_S: Final = 0.0001
#: Seconds for which a link is shared after two streams have sent something on it; two streams of bulk share it if both
#: send within so many bytes.
PACE_SHARED_S: Final = 0.25
PACE_CHANGE: Final = 2 * MIB
#: Seconds that the answer to a mark may take.
PACE_ANSWER_S: Final = 10.0


#: How long the shortest way counts as the way, twice: it may have become longer.
_WAY_S: Final = 30.0
#: The shortest time that a rate is taken of: marks come back in bursts.
_SAMPLE_S: Final = 0.001
_UNKNOWN: Final = 1e9
#: Marks without an answer; a peer that gives none is not sent more.
_MARKS_MAX: Final = 64


class Pacer:
    """Of one link. While ``held`` bulk has to wait, until ``resume`` is called."""

    def __init__(self, resume: Callable[[], None], clock: Callable[[], float] = monotonic) -> None:
        self.held = False
        self._resume = resume
        self._clock = clock  # a loop's counts in milliseconds
        self._timer: asyncio.TimerHandle | None = None
        self.bulk_id = -1  # the stream that sent bulk last
        self.others_sent = 0  # count of what other streams sent
        self._others_seen = 0
        self._changed = -PACE_CHANGE  # where ``bulk_id`` became what it is
        self._shared_until = 0.0
        self._limit = PACE_LEAST
        self._sent = 0
        self._marked = 0
        self._answered = 0
        self._marks: deque[tuple[int, float]] = deque()
        self._count = 0  # of those that came back
        self._answers = False  # it is known that the peer gives any
        self._was_held = False  # since the last sample
        # The highest rate of late, bytes a second, and where the sample began that is being taken of it.
        self._rate = 0.0
        self._sample_at = 0.0
        self._sample_place = 0
        # The shortest way there and back, of this period and of the one before.
        self._shortest = self._shortest_before = _UNKNOWN
        self._period_until = 0.0

    def sent(self, stream_id: int, count: int) -> bytes | None:
        """A stream has sent so many bytes of bulk; the mark to put behind them, if one is due."""
        now = self._clock()
        self._sent += count
        if stream_id != self.bulk_id:
            # Once is one download behind another; again and again is two beside each other.
            if self._sent - self._changed < PACE_CHANGE:
                self._shared_until = now + PACE_SHARED_S
            self.bulk_id = stream_id
            self._changed = self._sent
            self._others_seen = self.others_sent
        elif self.others_sent != self._others_seen:
            self._others_seen = self.others_sent
            self._shared_until = now + PACE_SHARED_S
        if now > self._shared_until:
            return None
        mark = None
        if self._sent - self._marked >= max(PACE_LEAST // 2, self._limit // 4) and len(self._marks) < _MARKS_MAX:
            self._marked = self._sent
            self._marks.append((self._sent, now))
            mark = self._sent.to_bytes(8, "big")
        if self._answers and self._marks and self._sent - self._answered >= self._limit:
            self.held = self._was_held = True
            if self._timer is None:
                self._wait(self._count)
        return mark

    def answered(self, mark: bytes) -> None:
        """A mark has come back. What is none is nothing."""
        place = int.from_bytes(mark, "big")
        if not self._marks or place < self._marks[0][0] or place > self._marks[-1][0]:
            return
        sent_at = now = self._clock()
        while self._marks and self._marks[0][0] <= place:
            self._answered, sent_at = self._marks.popleft()
        self._answers = True
        self._count += 1
        self._adapt(now - sent_at, self._answered, now)
        if self.held and not (self._marks and self._sent - self._answered >= self._limit):
            self.held = False
            self._resume()

    def stop(self) -> None:
        """The link is gone."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, count: int) -> None:
        self._timer = asyncio.get_running_loop().call_later(PACE_ANSWER_S, self._look, count)

    def _look(self, count: int) -> None:
        """Bulk has been held at times since: if it is now and no mark has come back, the peer answers none any more."""
        self._timer = None
        if not self.held:
            return
        if self._count != count:
            self._wait(self._count)
        else:
            self.held = self._answers = False
            self._resume()

    def _adapt(self, took: float, place: int, now: float) -> None:
        """Find the bound anew: what goes the way in twice the time that it takes, and a little."""
        if now > self._period_until:
            self._period_until = now + _WAY_S
            self._shortest_before, self._shortest = self._shortest, took
        self._shortest = min(self._shortest, took)
        way = min(self._shortest, self._shortest_before)
        span = now - self._sample_at
        if span < max(2 * way, _SAMPLE_S):
            return
        rate = (place - self._sample_place) / span
        if rate > self._rate:
            self._rate = rate
        elif self._was_held:  # else it was not the way that had no more
            self._rate = max(rate, self._rate * 0.9)
        self._limit = int(min(PACE_MOST, max(PACE_LEAST, self._rate * (2 * way + PACE_QUEUE_S))))
        self._sample_at, self._sample_place, self._was_held = now, place, False
