"""The tickets that the router knows of, by the notes of their jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from pagent.access.ticket import CLOCK_SKEW_S, Ticket, ended_by, read_ticket, ticket_of
from pagent.router_limits import TICKETS_GONE_MAX
from pagent.runtime.silence import SilenceLimit


class TicketEvent(NamedTuple):
    """A ticket is new, or was revoked."""

    ticket: Ticket
    is_revoked: bool


class _JobTickets:
    """The tickets of one job. ``gone``: when the ids of those whose note is gone need not be kept any more."""

    __slots__ = ("ended", "gone", "known")

    def __init__(self) -> None:
        self.known: dict[str, Ticket] = {}
        self.ended: set[str] = set()
        self.gone: dict[str, float] = {}


class TicketTable:
    """A ticket whose note is gone, or that was revoked, is over. ``over`` is called with its id."""

    def __init__(self, over: Callable[[str], None]) -> None:
        self._over: Final = over
        self._jobs: dict[str, _JobTickets] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}  # by ticket

    # --- asking -----------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Ticket]:
        return iter([ticket for job in self._jobs.values() for ticket in job.known.values()])

    def of(self, job_uid: str) -> list[Ticket]:
        """Return the tickets of a job, the oldest first."""
        job = self._jobs.get(job_uid)
        return [] if job is None else sorted(job.known.values(), key=lambda ticket: ticket.age)

    def get(self, job_uid: str, ticket_id: str) -> Ticket | None:
        """Return a ticket; None if it is not known."""
        job = self._jobs.get(job_uid)
        return None if job is None else job.known.get(ticket_id)

    def is_over(self, job_uid: str, ticket_id: str) -> bool:
        """Return whether a ticket was revoked, or its note is gone; False for one that is not known."""
        job = self._jobs.get(job_uid)
        return job is not None and (ticket_id in job.ended or ticket_id in job.gone)

    async def when_known(self, job_uid: str, ticket_id: str, timeout: float) -> Ticket | None:
        """Return a ticket as soon as it is known; None if that takes longer, or it is over."""
        if (ticket := self.get(job_uid, ticket_id)) is not None or self.is_over(job_uid, ticket_id):
            return ticket
        if (waiting := self._waiting.get(ticket_id)) is None:
            waiting = self._waiting[ticket_id] = asyncio.get_running_loop().create_future()
        try:
            async with SilenceLimit(timeout):
                await asyncio.shield(waiting)
        except TimeoutError:
            self._waiting.pop(ticket_id, None)
        return self.get(job_uid, ticket_id)

    # --- notes ------------------------------------------------------------------------------------

    def take(self, job_uid: str, note: str, value: bytes | None) -> TicketEvent | None:
        """Take over a note that has changed; return the change of a ticket, or None."""
        if (ticket_id := ticket_of(note)) is not None:
            if value is not None:
                return self._noted(job_uid, note, value)
            self._note_gone(job_uid, ticket_id)
            return None
        if (ticket_id := ended_by(note)) is not None:
            return self._end(job_uid, ticket_id, value is not None)
        return None

    def forget(self, job_uid: str) -> None:
        """Forget the tickets of a job that is gone."""
        self._jobs.pop(job_uid, None)

    def _noted(self, job_uid: str, note: str, value: bytes) -> TicketEvent | None:
        ticket = read_ticket(job_uid, note, value)
        if ticket is None:
            return None
        job = self._jobs.setdefault(job_uid, _JobTickets())
        if ticket.id in job.ended:
            return None
        is_new = ticket.id not in job.known
        job.known[ticket.id] = ticket
        job.gone.pop(ticket.id, None)
        if (waiting := self._waiting.pop(ticket.id, None)) is not None:
            waiting.set_result(None)
        return TicketEvent(ticket, is_revoked=False) if is_new else None

    def _note_gone(self, job_uid: str, ticket_id: str) -> None:
        """Forget a ticket that has expired, or with which no browser has entered in time."""
        job = self._jobs.get(job_uid)
        if job is None or (ticket := job.known.pop(ticket_id, None)) is None:
            return
        now = time.time()
        for each in [each for each, until in job.gone.items() if until < now] if job.gone else ():
            del job.gone[each]
        if len(job.gone) >= TICKETS_GONE_MAX:
            del job.gone[next(iter(job.gone))]
        job.gone[ticket_id] = ticket.expires + CLOCK_SKEW_S
        self._over(ticket_id)

    def _end(self, job_uid: str, ticket_id: str, ended: bool) -> TicketEvent | None:
        job = self._jobs.setdefault(job_uid, _JobTickets())
        if not ended:
            job.ended.discard(ticket_id)
            return None
        job.ended.add(ticket_id)
        ticket = job.known.pop(ticket_id, None)
        self._over(ticket_id)
        return None if ticket is None else TicketEvent(ticket, is_revoked=True)
