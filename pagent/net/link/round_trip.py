"""How long the way to a peer and back is, by pings."""

from __future__ import annotations

from collections.abc import Callable


class RoundTrip:
    """Of one link. ``shortest_s``: the shortest of late, 0 until one is known; seconds."""

    __slots__ = ("_began", "_clock", "shortest_s")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began: float | None = None
        self.shortest_s = 0.0

    def begin(self) -> None:
        """A ping is sent."""
        self._began = self._clock()

    def end(self) -> None:
        """It is answered."""
        if self._began is None:
            return
        took = self._clock() - self._began
        self._began = None
        # Queues make it longer, never shorter; a way that has changed is learnt within a few pings.
        self.shortest_s = min(took, 2 * self.shortest_s) if self.shortest_s else took
