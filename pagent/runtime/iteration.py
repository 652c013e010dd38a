"""Call functions at the end of an iteration of an event loop.

Several parts wait for that end: what an iteration sends is written at once, and budgets are for one iteration. A handle
of the loop for each of them would have the cost of a small message, so they share one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from weakref import ref

from pagent.runtime.per_loop import PerLoop


class IterationEnd:
    """The end of the iteration of one event loop; :func:`current_iteration` returns it."""

    __slots__ = ("_actions", "_loop")

    def __init__(self) -> None:
        self._loop = ref(asyncio.get_running_loop())  # weak, because the loop is the key of the table below
        self._actions: list[Callable[[], None]] = []

    def call(self, action: Callable[[], None]) -> None:
        """Call ``action`` once, after the callbacks of this iteration, in the order of these calls."""
        if not self._actions:  # before the action is kept: without memory for the handle, the next call makes it
            loop = self._loop()
            assert loop is not None
            loop.call_soon(self._run)
        self._actions.append(action)

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
