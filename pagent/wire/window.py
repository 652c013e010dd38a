"""Credit of a stream (docs/protocol.rst, "flow: credit for each stream").

Each direction of a stream starts with a window of credit. Who receives takes it down by what arrives and gives it
back once the bytes were *used*; who sends takes it down by what it sends and stops at zero. A message that finds any
credit left may overshoot it, so the account may go below zero by less than one message.

A window that is smaller than what the way holds (bandwidth times round trip) makes the sender wait for credit. It shows
at the receiver: at the rate at which it has just used what it gives back, two round trips would use more than all of
it. The window is set to that much then, up to a bound; that the receiver has used the bytes so fast says that it will
not have to keep them.
"""

from __future__ import annotations

from typing import Final

from pagent.limits import STREAM_WINDOW, STREAM_WINDOW_MAX

#: No clock tells less.
_CLOCK_S: Final = 1e-6


class ReceiveWindow:
    """What a peer may still send us. Credit goes back in steps of up to half of the window, not for each message."""

    __slots__ = ("_returned_at", "_size", "_step", "_unreturned", "_used")

    def __init__(self, size: int = STREAM_WINDOW) -> None:
        self._set_size(size)
        self._unreturned = 0  # arrived, and not given back
        self._used = 0  # of these, used
        self._returned_at: float | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    @property
    def available(self) -> int:
        """Bytes that the sender may send now; below 0 if its last message exceeded its credit."""
        return self._size - self._unreturned

    def arrived(self, cost: int) -> bool:
        """Account for a message; False if the sender had no credit left for even a part of it."""
        allowed = self._unreturned < self._size
        self._unreturned += cost
        return allowed

    def used(self, cost: int) -> int:
        """The receiver has used this much; returns the credit to send now, 0 for none yet."""
        self._used += cost
        if self._used < self._step:
            return 0
        credit = self._used
        self._used = 0
        self._unreturned -= credit
        return credit

    def grown(self, credit: int, now_s: float, round_trip_s: float) -> int:
        """So much is being given back: how much more the sender may have. ``round_trip_s`` is 0 if it is not known."""
        before, self._returned_at = self._returned_at, now_s
        if before is None or not round_trip_s:
            return 0
        took_s = max(now_s - before, _CLOCK_S)
        # What comes in one burst says little of a rate, so that a step is by a factor of 8 at most.
        wanted = min(round(2 * round_trip_s * credit / took_s), 8 * self._size, STREAM_WINDOW_MAX)
        growth = max(0, wanted - self._size)
        self._set_size(self._size + growth)
        return growth

    def _set_size(self, size: int) -> None:
        self._size = size
        self._step = min(size // 2, STREAM_WINDOW)
