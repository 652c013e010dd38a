"""How much connections read in one turn of a loop.

A loop reads from a socket as long as there is something: one bulk stream could keep it busy for many milliseconds, and
sixteen do so in turn, while a small request waits. So what is read in large pieces in one turn is bounded, for all
connections of a loop together: who comes later reads on in the next turn, after everybody else had theirs.

A few bytes can be as much work: a flood of tiny frames, or what is coded over and over. Who has left some of it for
later gets on with it in turn with all others who have, as long as their turn's time lasts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from pagent.limits import CROWD, LABOUR_TURN, READ_BULK, READ_MUCH, TURN_BYTES


class Reader(Protocol):
    """A connection that reads."""

    def go_on(self) -> None:
        """The next turn has come."""


class Turns:
    """The turns of one loop; :func:`current_turns` gives it."""

    __slots__ = (
        "_afterwards",
        "_dealing",
        "_due",
        "_labour",
        "_later",
        "_reader",
        "_readers",
        "_spent",
        "_waiting",
        "crowd",
    )

    def __init__(self) -> None:
        # Bulk that is read in this turn.
        self._spent = 0
        self._reader: Reader | None = None  # the last one
        self._readers = 0
        self._due = False
        self.crowd = False  # whether there were many readers in the last turn that had any
        self._waiting: list[Reader] = []
        # Work that was left for a later turn, and what has been done in this one, bytes.
        self._later: deque[Callable[[], None]] = deque()
        self._labour = 0
        self._dealing = False
        self._afterwards: list[Callable[[], None]] = []

    def begin(self) -> None:
        """What a connection has received is being dealt with."""
        self._dealing = True

    def afterwards(self, act: Callable[[], None]) -> bool:
        """Call ``act`` once what is being dealt with has been; False if nothing is."""
        if self._dealing:
            self._afterwards.append(act)
        return self._dealing

    def finish(self) -> None:
        """It has been."""
        self._dealing = False
        if self._afterwards:
            acts, self._afterwards = self._afterwards, []
            for act in acts:
                act()

    def spend(self, count: int, reader: Reader) -> bool:
        """``reader`` has read so much at once; True if that is enough for this turn: it is told to go on in the next.

        What is less than READ_BULK is no bulk and costs nothing; who reads less than READ_MUCH has nothing left that it
        would read in the same turn.
        """
        if count < READ_BULK:
            return False
        self._spent += count
        if reader is not self._reader:
            self._reader = reader
            self._readers += 1
        self._be_due()
        if self._spent < TURN_BYTES or count < READ_MUCH:
            return False
        self._waiting.append(reader)
        return True

    def later(self, work: Callable[[], None], done: int) -> None:
        """Call ``work`` in a later turn. ``done``: what was done in this one, in bytes decoded that take as long."""
        self._later.append(work)
        self._labour += done
        self._be_due()

    def _be_due(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._due = False
        self.crowd = self._readers >= CROWD
        self._spent = self._readers = 0
        self._reader = None
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            reader.go_on()
        self._labour = 0
        later = self._later
        try:
            for _ in range(len(later)):
                if self._labour >= LABOUR_TURN:
                    break
                later.popleft()()
        finally:
            if later:
                self._be_due()


_TURNS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]] = WeakKeyDictionary()


def current_turns() -> Turns:
    """Those of the running loop."""
    loop = asyncio.get_running_loop()
    turns = _TURNS.get(loop)
    if turns is None:
        turns = _TURNS[loop] = Turns()
    return turns
