"""Measure the round trip to a peer by pings."""

from __future__ import annotations

from collections.abc import Callable


class RoundTrip:
    """The round trip of one link. ``shortest_s``: the shortest recent one in seconds; 0 until one is known."""

    __slots__ = ("_began", "_clock", "shortest_s")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began: float | None = None
        self.shortest_s = 0.0

    def begin(self) -> None:
        """Note that a ping is sent."""
        self._began = self._clock()

    def end(self) -> None:
        """Note that the ping is answered."""
        if self._began is None:
            return
        took = self._clock() - self._began
        self._began = None
        # Queues make a round trip longer, never shorter. A path that has become longer is learnt within a few pings.
        self.shortest_s = min(took, 2 * self.shortest_s) if self.shortest_s else took
