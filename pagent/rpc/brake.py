"""Slowing a peer without flow control down for the moment that a fast job needs to catch up.

On one machine a peer can send faster than the kernel lets the job run, and what the job has not taken would go to disk
and back for no reason. A pause of a few milliseconds in the reading of the link spares that. It is only for jobs that
do catch up: a stream whose pause was in vain gets no other for a while, longer each time, and a link spends no more
than a fifth of its time so. Whatever is slower than that is what the spool is for: nothing waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from pagent.limits import BRAKE_LINK_REST_S, BRAKE_MAX_S, BRAKE_STREAM_REST_MAX_S, BRAKE_STREAM_REST_S


class Braking(Protocol):
    """A stream that holds data which its receiver has not taken. The attributes are the brake's."""

    brake_rest: float  # until when it may not brake
    brake_rest_s: float  # how long that was the last time; 0 if it did not have to


class Brake:
    """The one brake of a link; ``choke(on)`` stops its reading and lets it go on."""

    def __init__(self, choke: Callable[[bool], None]) -> None:
        self._choke = choke
        self._loop = asyncio.get_running_loop()
        self._stream: Braking | None = None  # for which it is pressed
        self._timer: asyncio.TimerHandle | None = None
        self._rest = 0.0

    def press(self, stream: Braking) -> None:
        """A stream has gathered a lot: stop reading until :meth:`lift`, or not at all if that would be in vain."""
        now = self._loop.time()
        if self._stream is None and now >= self._rest and now >= stream.brake_rest:
            self._stream = stream
            self._timer = self._loop.call_later(BRAKE_MAX_S, self._in_vain)
            self._choke(True)

    def lift(self, stream: Braking) -> None:
        """The stream has nothing left, or is gone."""
        if self._stream is stream:
            stream.brake_rest_s = 0.0
            self._release()

    def _in_vain(self) -> None:
        now = self._loop.time()
        if self._stream is not None:
            rest_s = self._stream.brake_rest_s
            rest_s = min(2 * rest_s, BRAKE_STREAM_REST_MAX_S) if rest_s else BRAKE_STREAM_REST_S
            self._stream.brake_rest_s = rest_s
            self._stream.brake_rest = now + rest_s
        self._rest = now + BRAKE_LINK_REST_S
        self._release()

    def _release(self) -> None:
        self._stream = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._choke(False)
