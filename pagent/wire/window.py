"""Credit of a stream (docs/protocol.rst, "flow: credit for each stream").

Each direction of a stream starts with a window of credit. The receiver reduces it by the bytes that arrive, and returns
them once they are *used*. The sender reduces it by the bytes that it sends, and stops at zero. A message may be sent
while any credit is left, so the account may go below zero by less than one message.

If a window is smaller than the bandwidth-delay product, the sender waits for credit. The receiver detects this: at the
rate at which it has just used the bytes, two round trips would use more than the whole window. The window is then set
to that many bytes, up to a bound. Because the receiver has used the bytes so fast, it will not have to keep them.
"""

from __future__ import annotations

from typing import Final

from pagent.limits import STREAM_WINDOW, STREAM_WINDOW_MAX

#: The shortest time that a clock measures.
_CLOCK_S: Final = 1e-6


class ReceiveWindow:
    """The credit of a peer that sends to us; it is returned in steps of up to half of the window.

    A step may be returned earlier, with data that is sent anyway: credit alone costs both ends a system call, and the
    peer a wake-up.
    """

    __slots__ = ("_piggyback_from", "_returned_at", "_size", "_step", "_unreturned", "_used")

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
        """Bytes that the sender may send now; below 0 if its last message exceeded the credit."""
        return self._size - self._unreturned

    def arrived(self, cost: int) -> bool:
        """Count a message; return False if the sender had no credit left."""
        allowed = self._unreturned < self._size
        self._unreturned += cost
        return allowed

    def used(self, cost: int) -> int:
        """Note that the receiver has used this many bytes; return the credit to send now, 0 for none yet."""
        self._used += cost
        return self._taken() if self._used >= self._step else 0

    def piggybacked(self) -> int:
        """Return the credit to send with other data now: at least three quarters of a step; 0 for none yet."""
        return self._taken() if self._used >= self._piggyback_from else 0

    def grown(self, credit: int, now_s: float, round_trip_s: float) -> int:
        """Grow the window after ``credit`` bytes were returned; return the additional bytes of credit.

        ``round_trip_s`` is 0 if it is not known.
        """
        before, self._returned_at = self._returned_at, now_s
        if before is None or not round_trip_s:
            return 0
        took_s = max(now_s - before, _CLOCK_S)
        # One burst says little about a rate, so a step is at most by a factor of 8.
        wanted = min(round(2 * round_trip_s * credit / took_s), 8 * self._size, STREAM_WINDOW_MAX)
        growth = max(0, wanted - self._size)
        self._set_size(self._size + growth)
        return growth

    def _taken(self) -> int:
        credit, self._used = self._used, 0
        self._unreturned -= credit
        return credit

    def _set_size(self, size: int) -> None:
        self._size = size
        self._step = min(size // 2, STREAM_WINDOW)
        self._piggyback_from = self._step * 3 // 4
