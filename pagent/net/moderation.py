"""Fewer and fuller turns where a link carries many small messages of many streams.

A turn of the loop costs much the same whether it finds one message or ten: it polls, reads from the link, writes to it
and wakes the peer, who pays for as many turns himself. Under load they fill by themselves, since messages gather while
others are dealt with; but not where the agent is faster than both its neighbours, and has a core to be idle on. Then
it is woken for nearly every message and wakes them as often, which slows them down in turn.

So a loop that has sent little may rest for a moment, as network cards hold back their interrupts under load (interrupt
moderation): what the link has been given is out already, and what comes meanwhile is dealt with together. Whether that
helps cannot be known, since where the next message waits for the last answer it only delays: it is tried now and then,
seldom where it never did, and done for as long as more goes through with it.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import Final

#: How long a rest is, and the least time from its end to the next one: a bounded part of the time.
_REST_S: Final = 0.0002
_AWAKE_S: Final = 0.0005
#: Messages sent in a turn that is full enough.
_FULL: Final = 16
#: Messages a second below which there is no load: nobody is woken often.
_LOAD: Final = 32_000.0
#: The time for which the rate is taken with rests, or without. One that took much longer had no load to its end.
_EPOCH_S: Final = 0.02
_BROKEN_S: Final = 0.04
#: In one of so many epochs the other way is tried: the first number, doubled up to the second while rests do not help.
_TRIED_EVERY: Final = 16
_TRIED_SELDOM: Final = 128
#: By how much the rate differs from the mean where it is another load, of which nothing is known yet.
_OTHER_LOAD: Final = 0.25
#: How much more has to go through.
_GAIN: Final = 1.03
#: The weight of an epoch in the mean of those of its kind.
_WEIGHT: Final = 0.25


class Moderation:
    """Of one loop, for all of its links that have many calls."""

    __slots__ = (
        "_began",
        "_clock",
        "_count",
        "_may_rest_at",
        "_plain_rate",
        "_rest",
        "_rested_rate",
        "_rests",
        "_tried_every",
        "_until_trial",
    )

    def __init__(self, clock: Callable[[], float] = monotonic, rest: Callable[[float], None] = sleep) -> None:
        self._clock = clock
        self._rest = rest  # holds the whole thread up: none of its sockets is to be asked meanwhile
        self._rests = False  # in this epoch
        self._may_rest_at = 0.0
        self._began = 0.0
        self._count = 0
        self._tried_every = self._until_trial = _TRIED_EVERY  # epochs
        # Messages a second of late, without rests and with them.
        self._plain_rate = self._rested_rate = 0.0

    def sent(self, messages: int) -> None:
        """So many have just been written to a link, in one go: all that a turn had for it."""
        now = self._clock()
        if now - self._began >= _EPOCH_S:
            self._next_epoch(now)
        self._count += messages
        if self._rests and messages < _FULL and now >= self._may_rest_at:
            self._rest(_REST_S)
            self._may_rest_at = self._clock() + _AWAKE_S

    def _next_epoch(self, now: float) -> None:
        seconds = now - self._began
        rate = self._count / seconds
        self._began = now
        self._count = 0
        if seconds > _BROKEN_S:
            self._rests = False
            return
        if self._rests:
            self._rested_rate = _mean(self._rested_rate, rate)  # it may be the rests that there is no load with
        if rate < _LOAD:
            self._rests = False
            return
        if not self._rests:
            if abs(rate - self._plain_rate) > self._plain_rate * _OTHER_LOAD:
                self._tried_every = _TRIED_EVERY
                self._until_trial = min(self._until_trial, _TRIED_EVERY)
            self._plain_rate = _mean(self._plain_rate, rate)
        helps = self._rested_rate >= self._plain_rate * _GAIN
        self._until_trial -= 1
        if self._until_trial > 0:
            self._rests = helps
            return
        self._rests = not helps
        self._tried_every = _TRIED_EVERY if helps else min(2 * self._tried_every, _TRIED_SELDOM)
        self._until_trial = self._tried_every


def _mean(mean: float, rate: float) -> float:
    return mean + (rate - mean) * _WEIGHT if mean else rate
