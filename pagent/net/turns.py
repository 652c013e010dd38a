"""How much connections read in one turn of a loop.

A loop reads from a socket as long as there is something: one bulk stream could keep it busy for many milliseconds, and
sixteen do so in turn, while a small request waits. So what is read in large pieces in one turn is bounded, for all
connections of a loop together: who comes later reads on in the next turn, after everybody else had theirs. The more
there are, the smaller are their pieces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from pagent.limits import READ_LEAST, READ_MOST, TURN_BYTES


class Turns:
    """The turns of one loop; :func:`current_turns` gives it."""

    __slots__ = ("_buffer", "_due", "_reads", "_space", "_spent", "_waiting")

    def __init__(self) -> None:
        # Of all connections: what is in it is handed on or copied before the next one reads.
        self._buffer = memoryview(bytearray(READ_MOST))
        self._space = self._buffer
        self._spent = 0
        self._reads = 0
        self._due = False
        self._waiting: list[Callable[[], None]] = []

    def space(self) -> memoryview:
        """Where to read to, as much as is to be read at once."""
        return self._space

    def received(self, count: int) -> bytes:
        """What has been read to it."""
        return bytes(self._space[:count])

    def spend(self, count: int, go_on: Callable[[], None]) -> bool:
        """So much has been read at once; True if that is enough for this turn: ``go_on`` is called in the next.

        What is less than READ_LEAST is no bulk and costs nothing.
        """
        if count < READ_LEAST:
            return False
        self._spent += count
        self._reads += 1
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._next)
        if self._spent < TURN_BYTES:
            return False
        self._waiting.append(go_on)
        return True

    def _next(self) -> None:
        self._due = False
        self._space = self._buffer[: max(READ_LEAST, min(READ_MOST, TURN_BYTES // self._reads))]
        self._spent = self._reads = 0
        waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            go_on()


_TURNS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]] = WeakKeyDictionary()


def current_turns() -> Turns:
    """Those of the running loop."""
    loop = asyncio.get_running_loop()
    turns = _TURNS.get(loop)
    if turns is None:
        turns = _TURNS[loop] = Turns()
    return turns
