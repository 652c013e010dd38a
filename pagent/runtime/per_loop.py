"""Keep one object for each event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class PerLoop(Generic[T]):
    """The objects of all event loops. Each one is made when it is first needed, and ends with its loop.

    :param make: makes the object of the running loop. The object must not refer to the loop, except weakly.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, T]] = WeakKeyDictionary()

    def current(self) -> T:
        """Return the object of the running loop. RuntimeError without one."""
        loop = asyncio.get_running_loop()
        found = self._made.get(loop)
        if found is None:
            found = self._made[loop] = self._make()
        return found
