"""Make, list, use and revoke tickets, which open a job to a browser (docs/access.rst, "Tickets")."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

from pagent.access.passes import EntryCode, TicketPass, read_code, read_pass, sign_code, sign_pass
from pagent.access.signed import SigningKeys, key_id_of
from pagent.access.ticket import CLOCK_SKEW_S, Ticket, end_note, ticket_note, used_note
from pagent.access.ticket_table import TicketTable
from pagent.errors import JOB_CALL_ERRORS, AccessDeniedError, RequestRefusedError
from pagent.http1.job_names import JobPlace
from pagent.router_limits import SIGNED_VALUE_MAX, TICKETS_MADE_MAX, TICKETS_PER_JOB
from pagent.rpc.directory import Creator, JobFacts

_log = logging.getLogger(__name__)

_ID_BYTES: Final = 8
_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_RETRY_S: Final = 60
#: How long the note of a ticket may be on its way from its agent.
_KNOWN_S: Final = 2.0

NOT_VALID: Final = "this address is not valid any more: it is good once and for a short time, so get a new one"


class TicketTerms(NamedTuple):
    """The contents of a new ticket. ``ports``: of the job; ``ttl_s``, ``code_s``: how long it and its codes are valid.

    ``until``: the end of the creator's token, epoch seconds; None for none.
    """

    ports: tuple[int, ...]
    ttl_s: int
    code_s: int
    embed: bool
    subject: str | None
    note: str | None
    until: float | None = None


class NewTicket(NamedTuple):
    """``urls``: by port, the addresses to enter at. They are secrets."""

    ticket: Ticket
    urls: dict[int, str]


class Entered(NamedTuple):
    """The answer to a code: the value of the browser's cookie, which is valid for ``seconds``."""

    cookie: str
    seconds: int
    embed: bool


class Admitted(NamedTuple):
    """A valid cookie. ``until``: the end of what it lets in, epoch seconds; ``key_id``: of the key that signed it."""

    entry: TicketPass
    key_id: str
    until: float
    embed: bool


class TicketNotes(Protocol):
    """Keeps notes with jobs, where all routers of the site see them."""

    async def put(
        self, job_uid: str, name: str, value: bytes | None, ttl: float | None = None, *, if_absent: bool = False
    ) -> bool:
        """Keep a note, None deletes it; return False if it is there and ``if_absent`` is set."""


class TicketJobs(Protocol):
    """The jobs of the router, as far as they are known."""

    def facts(self, job_uid: str) -> JobFacts | None:
        """Return the facts of a job, at once; None for a job that is not known."""


class TicketRights(Protocol):
    """Decides whose tickets are valid."""

    def may_open(self, creator: Creator | None, job: JobFacts) -> bool:
        """Return whether the creator of a ticket may still open the job to others."""


class Entrances(Protocol):
    """Where jobs can be entered."""

    def entrance(self, uid: str, port: int | None) -> tuple[JobPlace, str] | None:
        """Return the place of a port, None for the main one, and its address to enter; None if jobs have none."""


class Tickets:
    """The tickets of all jobs. Errors of notes are those of calls and links.

    :param advice: says for a job and its port how a browser reaches it without the listener of the jobs' own names.
    """

    def __init__(
        self,
        keys: SigningKeys,
        table: TicketTable,
        jobs: TicketJobs,
        notes: TicketNotes,
        rights: TicketRights,
        entrances: Entrances,
        advice: Callable[[str, int], str],
    ) -> None:
        # For life.
        self._jobs = jobs
        self._table = table
        self._notes = notes
        self._rights = rights
        self._entrances = entrances
        self._advice = advice
        #: Ids of tickets that were made here, so that no clock but this one counts.
        self._made: dict[str, None] = {}
        # Until the next SIGHUP.
        self.keys = keys

    # --- for the API ------------------------------------------------------------------------------

    async def create(self, job: JobFacts, main: int | None, terms: TicketTerms, creator: Creator | None) -> NewTicket:
        """Make a ticket for a job; ``main``: the port at its address without a port. RequestRefusedError."""
        if len(self._table.of(job.uid)) >= TICKETS_PER_JOB:
            raise RequestRefusedError(429, f"the job has {TICKETS_PER_JOB} tickets", retry_after_s=_RETRY_S)
        now = int(time.time())
        ticket = Ticket(
            id=secrets.token_hex(_ID_BYTES),
            job=job.uid,
            ports=terms.ports,
            subject=terms.subject,
            note=terms.note,
            embed=terms.embed,
            creator=creator,
            issued=now,
            expires=now + terms.ttl_s if terms.until is None else min(now + terms.ttl_s, int(terms.until)),
        )
        urls = {port: self._url(job, ticket, port, terms, is_main=port == main) for port in terms.ports}
        self._note_made(ticket.id)
        # No browser can enter after the time of the codes, so the note need not stay. Entering extends it.
        await self._notes.put(job.uid, ticket_note(ticket.id), ticket.to_note(), min(terms.code_s, terms.ttl_s))
        return NewTicket(ticket, urls)

    def _url(self, job: JobFacts, ticket: Ticket, port: int, terms: TicketTerms, *, is_main: bool) -> str:
        found = self._entrances.entrance(job.uid, None if is_main else port)
        if found is None:
            text = f"jobs have no address of their own here ({self._advice(job.uid, port)})"
            raise RequestRefusedError(_CONFLICT, text)
        place, address = found
        entry = TicketPass(
            place.text, job.agent_uid, job.uid, ticket.ports, ticket.name, ticket.id, ticket.issued, ticket.expires
        )
        until = ticket.issued + min(terms.code_s, terms.ttl_s)
        code = sign_code(self.keys, EntryCode(entry, ticket.embed, until))
        if len(code) > SIGNED_VALUE_MAX:
            raise RequestRefusedError(_BAD_REQUEST, "the ticket is too large for a cookie: give it a shorter subject")
        return f"{address}?c={code}"

    def _note_made(self, ticket_id: str) -> None:
        if len(self._made) >= TICKETS_MADE_MAX:
            del self._made[next(iter(self._made))]
        self._made[ticket_id] = None

    def of(self, job_uid: str) -> list[Ticket]:
        """Return the tickets of a job that are not over, the oldest first."""
        now = time.time()
        return [ticket for ticket in self._table.of(job_uid) if ticket.expires > now]

    async def revoke(self, job_uid: str, ticket_id: str) -> Ticket:
        """End a ticket, and its connections and streams, at all routers. RequestRefusedError 404."""
        ticket = self._table.get(job_uid, ticket_id)
        if ticket is None:
            raise RequestRefusedError(_NOT_FOUND, "the job has no such ticket")
        await self._end(ticket)
        return ticket

    async def end_unbacked(self) -> None:
        """Revoke the tickets whose creators may not open their jobs any more."""
        for ticket in self._table:
            job = self._jobs.facts(ticket.job)
            if job is None or self._is_backed(ticket, job):
                continue
            try:
                await self._end(ticket)
            except JOB_CALL_ERRORS as error:
                # Here it is over, and other routers read their tokens themselves.
                self._table.take(ticket.job, end_note(ticket.id), b"")
                _log.warning("job %s: the end of ticket %s is not noted: %s", ticket.job, ticket.id, error)

    async def _end(self, ticket: Ticket) -> None:
        # By the slowest clock of a router, cookies are valid until then.
        ttl = max(ticket.expires - time.time(), 0.0) + 2 * CLOCK_SKEW_S
        await self._notes.put(ticket.job, end_note(ticket.id), b"", ttl)
        await self._notes.put(ticket.job, ticket_note(ticket.id), None)

    # --- for the browser --------------------------------------------------------------------------

    def look_at(self, text: str, place: JobPlace) -> EntryCode:
        """Return the contents of a code, without using it up. AccessDeniedError 403 if it is not valid here."""
        code = read_code(self.keys, text)
        if code is None or code.entry.place != place.text or self._is_over(code.entry, code.until):
            raise AccessDeniedError(_FORBIDDEN, NOT_VALID)
        return code

    async def enter(self, text: str, place: JobPlace) -> Entered:
        """Use a code up. AccessDeniedError 403 if it is not valid, or was used."""
        code = self.look_at(text, place)
        entry = code.entry
        ticket = await self._table.when_known(entry.job, entry.ticket, _KNOWN_S)
        job = self._jobs.facts(entry.job)
        if ticket is None or job is None or job.agent_uid != entry.agent or not self._is_backed(ticket, job):
            raise AccessDeniedError(_FORBIDDEN, NOT_VALID)
        name = used_note(entry.ticket, place.name.port)
        now = time.time()
        if not await self._notes.put(entry.job, name, b"", code.until - now + 2 * CLOCK_SKEW_S, if_absent=True):
            raise AccessDeniedError(_FORBIDDEN, NOT_VALID)
        left_s = max(entry.expires - now, 0.1)
        await self._notes.put(entry.job, ticket_note(entry.ticket), ticket.to_note(), left_s)
        return Entered(sign_pass(self.keys, entry), math.ceil(left_s), code.embed)

    def admitted(self, values: Iterable[str], place: JobPlace, job: JobFacts) -> Admitted | None:
        """Return the first valid one of the values of cookies.

        There may be several: pages of a sibling domain can set a cookie of the same name for the parent domain.
        """
        for value in values:
            entry = read_pass(self.keys, value)
            if entry is None or (entry.place, entry.agent, entry.job) != (place.text, job.agent_uid, job.uid):
                continue
            if self._is_over(entry, entry.expires) or place.name.port not in (None, *entry.ports):
                continue
            ticket = self._table.get(entry.job, entry.ticket)
            if ticket is None or self._is_backed(ticket, job):
                until = entry.expires + self._leeway_s(entry)
                return Admitted(entry, key_id_of(value), until, ticket is not None and ticket.embed)
        return None

    def _is_over(self, entry: TicketPass, until: int) -> bool:
        """Return whether a ticket is over, or ``until`` has passed, by the clock of the router that made it."""
        leeway_s = self._leeway_s(entry)
        now = time.time()
        is_timely = entry.is_timely(now, leeway_s) and now < until + leeway_s
        return not is_timely or self._table.is_over(entry.job, entry.ticket)

    def _leeway_s(self, entry: TicketPass) -> int:
        return 0 if entry.ticket in self._made else CLOCK_SKEW_S

    def _is_backed(self, ticket: Ticket, job: JobFacts) -> bool:
        return self._rights.may_open(ticket.creator, job)
