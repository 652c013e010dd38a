"""Write the heads of answers whose body has not come by the end of the loop iteration.

A head is written with the first of its body: one system call for a small answer. An answer may also have no body for a
while, such as a stream of events. So heads are held for one iteration of the event loop at most.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod


class Holder(ABC):
    """An answer that may hold its head."""

    __slots__ = ()

    @abstractmethod
    def flush(self) -> None:
        """Write what is held."""


class HeldHeads:
    """The heads that are held in this iteration, of all connections of a listener."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._holders: list[Holder] = []

    def add(self, holder: Holder) -> None:
        """Flush ``holder`` at the end of this iteration."""
        self._holders.append(holder)
        if len(self._holders) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        holders, self._holders = self._holders, []
        for holder in holders:
            holder.flush()
