"""Bound the bytes that all connections of an event loop read in bulk in one iteration.

A transport reads from a socket as long as there is data. One bulk stream would keep the loop for many milliseconds, and
sixteen would do so in turn, while a small request waits. So bulk reads share a budget for each iteration of the loop: a
connection that reads beyond it is paused until the next one.
"""

from __future__ import annotations

from typing import Final, Protocol

from pagent.limits import KIB, MIB
from pagent.runtime.iteration import current_iteration
from pagent.runtime.per_loop import PerLoop

#: Bytes that all connections together read in one loop iteration before bulk readers wait for the next one.
#: Small requests wait for these bytes, a fraction of a millisecond.
ITERATION_BYTES: Final = MIB
#: Reads below the first are not counted. A read of the second and more leaves data in the socket, so it can be paused.
READ_BULK: Final = 32 * KIB
READ_PAUSABLE: Final = 128 * KIB
#: Until these bytes are spent, those of earlier iterations count as well: noting each end would cost too much time.
_COUNTED_FROM: Final = ITERATION_BYTES // 2


class Reader(Protocol):
    """A connection that reads."""

    def resume(self) -> None:
        """Read again: the next iteration has begun."""


class ReadBudget:
    """The budget of one event loop; :func:`current_budget` returns it."""

    __slots__ = ("_due", "_iteration", "_spent", "_waiting")

    def __init__(self) -> None:
        self._iteration = current_iteration()
        self._spent = 0
        self._due = False
        self._waiting: list[Reader] = []

    def spend(self, count: int, reader: Reader) -> bool:
        """Count ``count`` bytes that ``reader`` has read at once.

        Return whether the budget of this iteration is used up. ``reader`` must then pause, and its ``resume`` is called
        in the next iteration. Reads below ``READ_BULK`` are free. A reader of less than ``READ_PAUSABLE`` is never
        paused, because its socket has nothing left.
        """
        if count < READ_BULK:
            return False
        self._spent += count
        if self._spent < _COUNTED_FROM:
            return False
        if not self._due:
            self._iteration.call(self._iteration_ends)
            self._due = True
        if self._spent < ITERATION_BYTES or count < READ_PAUSABLE:
            return False
        self._waiting.append(reader)
        return True

    def _iteration_ends(self) -> None:
        self._due = False
        self._spent = 0
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            reader.resume()


_BUDGETS: Final = PerLoop(ReadBudget)


def current_budget() -> ReadBudget:
    """Return the budget of the running loop."""
    return _BUDGETS.current()
