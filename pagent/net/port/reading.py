"""The reading side of a connection: paused by its user, by the read budget, and by deferred work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from pagent.net.port.user import PortUser
from pagent.net.read_budget import READ_PAUSABLE, current_budget
from pagent.runtime.deferred import current_deferred
from pagent.runtime.iteration import current_iteration


class PortReader:
    """Reads while there is no reason to pause. ``waits``: pauses of the budget and of deferred work under way."""

    __slots__ = ("_budget", "_deferred", "_iteration", "_paused", "_transport", "reads", "waits")

    def __init__(self) -> None:
        # For life.
        self._budget = current_budget()
        self._deferred = current_deferred()
        self._iteration = current_iteration()
        # While connected.
        self._transport: asyncio.Transport | None = None
        self.waits = 0
        self._paused = False  # by the user
        self.reads = True

    def open(self, transport: asyncio.Transport) -> None:
        """Control the reading of ``transport``, which reads."""
        self._transport = transport
        self._apply()

    def close(self) -> None:
        """Leave the transport alone."""
        self._transport = None

    def pause(self) -> None:
        """Pause reading for the user."""
        self._paused = True
        self._apply()

    def unpause(self) -> None:
        """End the pause of the user."""
        self._paused = False
        self._apply()

    def bulk(self, user: PortUser, data: bytes) -> None:
        """Deliver bytes that were read in bulk; pause for this loop iteration if its budget is used up."""
        count = len(data)
        if count >= READ_PAUSABLE:  # more is in the socket
            user.port_data(data)
        else:
            self._iteration.read_begins()
            try:
                user.port_data(data)
            finally:
                self._iteration.read_ends()
        if not self.waits and self._budget.spend(count, self):
            self.waits += 1
            self._apply()

    def defer(self, work: Callable[[], None], done: int) -> None:
        """Read nothing before ``work`` was called in a later iteration; see :meth:`DeferredWork.defer`."""
        self.waits += 1
        self._apply()
        self._deferred.defer(partial(self._do, work), done)

    def resume(self) -> None:
        """End one pause of the budget or of deferred work."""
        self.waits -= 1
        self._apply()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self.resume()

    def _apply(self) -> None:
        reads = not (self._paused or self.waits)
        if reads is not self.reads and self._transport is not None:
            self.reads = reads
            if reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
