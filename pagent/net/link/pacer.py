"""Bound the bulk that is under way on a link that several streams use.

Data that has been written to a link cannot be overtaken any more, and most of it is in no buffer of ours: the kernels
of both ends take megabytes before a slow reader blocks the sender. So the link sends marks between the bytes of bulk.
A mark is a ping, and every peer answers pings in order (RFC 6455 section 5.5.2). The bytes after the last answered mark
are bounded, by twice the bandwidth-delay product: the highest recent rate times the shortest recent round trip (as in
BBR, Cardwell et al. 2016). A stream that has a link for itself is not bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from pagent.limits import KIB, MIB

#: Bounds of the bulk bytes that are under way on a link that several streams use.
PACER_LEAST: Final = 256 * KIB
PACER_MOST: Final = 64 * MIB
#: Seconds that the queue of bulk data may delay other data.
PACER_QUEUE_S: Final = 0.0001
#: Seconds for which a link is shared after two streams have sent something on it. Two streams of bulk share it if both
#: send within PACER_CHANGE bytes.
PACER_SHARED_S: Final = 0.25
PACER_CHANGE: Final = 2 * MIB
#: Seconds that the answer to a mark may take.
PACER_ANSWER_S: Final = 10.0

#: Seconds after which the shortest round trip is measured anew; the one before counts for as long again.
_PERIOD_S: Final = 30.0
#: The shortest time that a rate is measured over: the answers to marks arrive in bursts.
_SAMPLE_S: Final = 0.001
_UNKNOWN: Final = 1e9
#: Marks that may be unanswered; a peer that answers none gets no more.
_MARKS_MAX: Final = 64


class Pacer:
    """The pacer of one link. While ``held``, bulk has to wait until ``resume`` is called.

    ``bulk_id``: the stream that sent bulk last. ``others_sent``: messages of all other streams; the sender counts them.
    ``limit``: the bound in bytes.
    """

    def __init__(self, resume: Callable[[], None], clock: Callable[[], float] = monotonic) -> None:
        # For life.
        self._resume = resume
        self._clock = clock  # the loop's own counts in milliseconds
        # The streams that use the link.
        self.bulk_id = -1
        self.others_sent = 0
        self._others_seen = 0
        self._changed = -PACER_CHANGE  # bytes sent when ``bulk_id`` changed
        self._shared_until = 0.0
        # The bytes under way.
        self.held = False
        self.limit = PACER_LEAST
        self._sent = 0
        self._marked = 0
        self._answered = 0
        self._marks: deque[tuple[int, float]] = deque()
        self._answers = 0
        self._is_answered = False  # the peer is known to answer
        self._timer: asyncio.TimerHandle | None = None
        # The highest recent rate in bytes per second, and the beginning of the sample under way.
        self._rate = 0.0
        self._sample_at = 0.0
        self._sample_place = 0
        self._was_held = False  # since the beginning of the sample
        # The shortest round trip of this period, and of the one before.
        self._shortest = self._shortest_before = _UNKNOWN
        self._period_until = 0.0

    def sent(self, stream_id: int, count: int) -> bytes | None:
        """Count ``count`` bytes of bulk that a stream has sent; return the mark to send after them, if one is due."""
        now = self._clock()
        self._sent += count
        if not self._is_shared(stream_id, now):
            return None
        mark = None
        if self._sent - self._marked >= max(PACER_LEAST // 2, self.limit // 4) and len(self._marks) < _MARKS_MAX:
            self._marked = self._sent
            self._marks.append((self._sent, now))
            mark = self._sent.to_bytes(8, "big")
        if self._is_answered and self._is_over_limit():
            self.held = self._was_held = True
            if self._timer is None:
                self._await_answer()
        return mark

    def answered(self, mark: bytes) -> None:
        """Handle a pong. One that answers no mark is ignored."""
        place = int.from_bytes(mark, "big")
        if not self._marks or place < self._marks[0][0] or place > self._marks[-1][0]:
            return
        sent_at = now = self._clock()
        while self._marks and self._marks[0][0] <= place:
            self._answered, sent_at = self._marks.popleft()
        self._is_answered = True
        self._answers += 1
        self._adapt(now - sent_at, self._answered, now)
        if self.held and not self._is_over_limit():
            self.held = False
            self._resume()

    def stop(self) -> None:
        """Stop the timer: the link is gone."""
        if self._timer is not None:
            self._timer.cancel()

    def _is_shared(self, stream_id: int, now: float) -> bool:
        """Return whether other streams than this one, which has sent bulk, use the link."""
        if stream_id != self.bulk_id:
            # One change is one download after another; several changes are two at the same time.
            if self._sent - self._changed < PACER_CHANGE:
                self._shared_until = now + PACER_SHARED_S
            self.bulk_id = stream_id
            self._changed = self._sent
            self._others_seen = self.others_sent
        elif self.others_sent != self._others_seen:
            self._others_seen = self.others_sent
            self._shared_until = now + PACER_SHARED_S
        return now <= self._shared_until

    def _is_over_limit(self) -> bool:
        return bool(self._marks) and self._sent - self._answered >= self.limit

    def _await_answer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PACER_ANSWER_S, self._check_answers, self._answers)

    def _check_answers(self, before: int) -> None:
        """Release bulk that is held if no answer has arrived since: the peer answers no more."""
        self._timer = None
        if not self.held:
            return
        if self._answers != before:
            self._await_answer()
        else:
            self.held = self._is_answered = False
            self._resume()

    def _adapt(self, took: float, place: int, now: float) -> None:
        """Set the limit to the bytes that the path carries in two round trips, and a short queue."""
        if now > self._period_until:
            self._period_until = now + _PERIOD_S
            self._shortest_before, self._shortest = self._shortest, took
        self._shortest = min(self._shortest, took)
        round_trip = min(self._shortest, self._shortest_before)
        span = now - self._sample_at
        if span < max(2 * round_trip, _SAMPLE_S):
            return
        rate = (place - self._sample_place) / span
        if rate > self._rate:
            self._rate = rate
        elif self._was_held:  # otherwise the sender, not the path, set the rate
            self._rate = max(rate, self._rate * 0.9)
        self.limit = int(min(PACER_MOST, max(PACER_LEAST, self._rate * (2 * round_trip + PACER_QUEUE_S))))
        self._sample_at, self._sample_place, self._was_held = now, place, False
