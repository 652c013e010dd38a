"""Connections and streams of tickets, which are closed when the ticket ends or its key is removed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from pagent.access.signed import SigningKeys

#: The longest time until the end of a ticket is looked at: the clock of the host may be set.
_LOOK_S: Final = 30.0


class TicketLease:
    """One request or upgrade of a ticket. ``key_id``: of the key that signed its cookie."""

    __slots__ = ("_opened", "close", "key_id")

    def __init__(self, opened: _OpenTicket, key_id: str, close: Callable[[], object]) -> None:
        self._opened = opened
        self.key_id = key_id
        self.close = close

    def release(self) -> None:
        """End the lease."""
        self._opened.discard(self)


class _OpenTicket:
    """All leases of one ticket. A timer closes them at ``until``, epoch seconds."""

    __slots__ = ("_leases", "_table", "_timer", "_until", "ticket")

    def __init__(self, table: dict[str, _OpenTicket], ticket: str, until: float) -> None:
        self._table = table
        self._leases: set[TicketLease] = set()
        self._until = until
        self.ticket = ticket
        self._timer = self._watch()

    def _watch(self) -> asyncio.TimerHandle:
        delay = min(max(self._until - time.time(), 0.0), _LOOK_S)
        return asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        if time.time() >= self._until:
            self.end(None)
        else:
            self._timer = self._watch()

    def add(self, key_id: str, close: Callable[[], object]) -> TicketLease:
        lease = TicketLease(self, key_id, close)
        self._leases.add(lease)
        return lease

    def discard(self, lease: TicketLease) -> None:
        self._leases.discard(lease)
        if not self._leases:
            self._timer.cancel()
            if self._table.get(self.ticket) is self:
                del self._table[self.ticket]

    def end(self, keys: SigningKeys | None) -> None:
        """Close all leases, or those of keys that are gone."""
        for lease in [lease for lease in self._leases if keys is None or lease.key_id not in keys]:
            self.discard(lease)
            lease.close()


class OpenTickets:
    """The tickets that have something open."""

    def __init__(self) -> None:
        self._open: dict[str, _OpenTicket] = {}

    def open(self, ticket: str, key_id: str, until: float, close: Callable[[], object]) -> TicketLease:
        """Register a connection or stream of a ticket, which ``close`` ends.

        ``until``: the end of the ticket, epoch seconds.
        """
        opened = self._open.get(ticket)
        if opened is None:
            opened = self._open[ticket] = _OpenTicket(self._open, ticket, until)
        return opened.add(key_id, close)

    def end(self, ticket: str) -> None:
        """Close the connections and streams of a ticket."""
        if (opened := self._open.get(ticket)) is not None:
            opened.end(None)

    def keep(self, keys: SigningKeys) -> None:
        """Close connections and streams whose key was removed."""
        for opened in [*self._open.values()]:
            opened.end(keys)
