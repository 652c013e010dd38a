"""Credit of a stream (extension ``flow``, spec prpc.md).

Each direction of a stream starts with a window of credit. Who receives takes it down by what arrives and gives it
back once the bytes were *used*; who sends takes it down by what it sends and stops at zero. A message that finds any
credit left may overshoot it, so the account may go below zero by less than one message.
"""

from __future__ import annotations

from pagent.limits import STREAM_WINDOW


class ReceiveWindow:
    """What a peer may still send us. Credit goes back in halves of the window, not for each message."""

    __slots__ = ("_size", "_unreturned", "_used")

    def __init__(self, size: int = STREAM_WINDOW) -> None:
        self._size = size
        self._unreturned = 0  # arrived, and not given back
        self._used = 0  # of these, used

    def arrived(self, cost: int) -> bool:
        """Account for a message; False if the sender had no credit left for even a part of it."""
        allowed = self._unreturned < self._size
        self._unreturned += cost
        return allowed

    def used(self, cost: int) -> int:
        """The receiver has used this much; returns the credit to send now, 0 for none yet."""
        self._used += cost
        if self._used * 2 < self._size:
            return 0
        credit = self._used
        self._used = 0
        self._unreturned -= credit
        return credit
