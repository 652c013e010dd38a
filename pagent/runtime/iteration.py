"""Call functions at the end of an iteration of an event loop.

Several parts wait for that end: the data that an iteration sends is written at once, and budgets are for one iteration.
A handle of the loop for each of them would have the cost of a small message, so they share one.

A read of bulk needs no handle. The data that is sent while it is handled is large already, and is written when the read
ends.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final
from weakref import ref

from pagent.runtime.per_loop import PerLoop


class Gathering(ABC):
    """A writer that gathers the data of a read, or of an iteration, for one system call."""

    __slots__ = ()

    @abstractmethod
    def iteration_ends(self) -> None:
        """Write the data."""


class IterationEnd:
    """The end of the iteration of one event loop; :func:`current_iteration` returns it."""

    __slots__ = ("_actions", "_gatherings", "_loop", "_reads")

    def __init__(self) -> None:
        self._loop = ref(asyncio.get_running_loop())  # weak, because the loop is the key of the table below
        self._actions: list[Callable[[], None]] = []
        self._gatherings: list[Gathering] = []  # those of the read under way
        self._reads = False

    def call(self, action: Callable[[], None]) -> None:
        """Call ``action`` once, after the callbacks of this iteration, in the order of these calls."""
        if not self._actions:  # before the action is kept: without memory for the handle, the next call makes it
            loop = self._loop()
            assert loop is not None
            loop.call_soon(self._run)
        self._actions.append(action)

    def write_after_read(self, gathering: Gathering) -> None:
        """Let ``gathering`` write once: when the read under way ends, without one as :meth:`call` does."""
        if self._reads:
            self._gatherings.append(gathering)
        else:
            self.call(gathering.iteration_ends)

    def read_begins(self) -> None:
        """Note that one connection handles a read of bulk, until :meth:`read_ends`.

        The read has left nothing in its socket: otherwise the data of several reads is written at once.
        """
        self._reads = True

    def read_ends(self) -> None:
        """Write the data that was gathered during the read under way."""
        self._reads = False
        if not self._gatherings:
            return
        gatherings, self._gatherings = self._gatherings, []
        done = 0
        try:
            for gathering in gatherings:
                done += 1
                gathering.iteration_ends()
        except Exception as error:  # noqa: BLE001 - the fault is not one of the connection that was read
            for gathering in gatherings[done:]:
                self.call(gathering.iteration_ends)
            asyncio.get_running_loop().call_exception_handler({"message": "a write failed", "exception": error})

    def _run(self) -> None:
        actions, self._actions = self._actions, []
        done = 0
        try:
            for action in actions:
                done += 1
                action()
        except BaseException:
            for action in actions[done:]:  # in the next iteration
                self.call(action)
            raise


_ENDS: Final = PerLoop(IterationEnd)


def current_iteration() -> IterationEnd:
    """Return the end of the running loop's iteration."""
    return _ENDS.current()
