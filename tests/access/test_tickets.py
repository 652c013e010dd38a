"""Tickets of one router, with doubles of jobs, notes and rights: docs/access.rst, "Tickets"."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pagent.access.passes import read_code, sign_pass
from pagent.access.signed import SigningKeys
from pagent.access.ticket import Ticket, end_note, ticket_note, used_note
from pagent.access.ticket_table import TicketTable
from pagent.access.tickets import NewTicket, Tickets, TicketTerms
from pagent.errors import AccessDeniedError, LinkClosedError, RequestRefusedError
from pagent.http1.job_names import JobName, JobPlace
from pagent.router_limits import TICKETS_PER_JOB
from pagent.rpc.directory import Creator, JobFacts

UID = "0" * 32
JOB = JobFacts(UID, "A", {})
ANN = Creator("ann", False)
TERMS = TicketTerms((80,), ttl_s=1000, code_s=100, embed=False, subject="Ann", note=None)
KEYS = SigningKeys([b"k" * 32])


def place(port: int | None = None) -> JobPlace:
    host = f"{UID}.localhost" if port is None else f"{UID}--{port}.localhost"
    return JobPlace(JobName(UID, port), host, "/")


class Site:
    """The jobs, notes, rights and entrances of a router. ``lost``: the agent of the notes has no link."""

    def __init__(self) -> None:
        self.table = TicketTable(lambda ticket: None)
        self.notes: dict[str, bytes] = {}
        self.times: dict[str, float | None] = {}
        self.jobs = {UID: JOB}
        self.creators: set[Creator | None] = {ANN, None}
        self.lost = False
        self.has_entrances = True
        self.tickets = self.router(KEYS)

    def router(self, keys: SigningKeys) -> Tickets:
        return Tickets(keys, self.table, self, self, self, self, lambda job, port: f"forward port {port}")

    def facts(self, job_uid: str) -> JobFacts | None:
        return self.jobs.get(job_uid)

    async def put(
        self, job_uid: str, name: str, value: bytes | None, ttl: float | None = None, *, if_absent: bool = False
    ) -> bool:
        if self.lost:
            raise LinkClosedError(1006, "gone")
        if if_absent and name in self.notes:
            return False
        if value is None:
            self.notes.pop(name, None)
        else:
            self.notes[name] = value
            self.times[name] = ttl
        self.table.take(job_uid, name, value)
        return True

    def may_open(self, creator: Creator | None, job: JobFacts) -> bool:
        return creator in self.creators

    def entrance(self, uid: str, port: int | None) -> tuple[JobPlace, str] | None:
        found = place(port)
        return (found, f"http://{found.text}/.pagent/enter") if self.has_entrances else None

    async def create(self, creator: Creator | None = ANN, main: int | None = 80, **terms: Any) -> NewTicket:
        return await self.tickets.create(JOB, main, TERMS._replace(**terms), creator)


@pytest.fixture
def site() -> Site:
    return Site()


def code_in(url: str) -> str:
    return url.partition("?c=")[2]


async def test_a_code_is_good_once_and_at_its_place(site: Site) -> None:
    made = await site.create(ports=(80, 81))
    codes = {port: code_in(url) for port, url in made.urls.items()}
    with pytest.raises(AccessDeniedError, match="not valid any more"):
        await site.tickets.enter(codes[81], place())
    for port, where in ((80, place()), (81, place(81))):
        assert site.tickets.look_at(codes[port], where).entry.ports == (80, 81)
        entered = await site.tickets.enter(codes[port], where)
        assert 999 <= entered.seconds <= 1000
        with pytest.raises(AccessDeniedError):
            await site.tickets.enter(codes[port], where)
        admitted = site.tickets.admitted(["nonsense", entered.cookie], where, JOB)
        assert admitted is not None
        assert (admitted.entry.subject, admitted.entry.ticket) == ("Ann", made.ticket.id)
        assert site.tickets.admitted([entered.cookie], place(82), JOB) is None
        assert site.tickets.admitted([entered.cookie], where, JOB._replace(agent_uid="B")) is None
    assert set(site.notes) >= {used_note(made.ticket.id, None), used_note(made.ticket.id, 81)}


async def test_a_code_for_a_job_of_another_agent_is_not_valid(site: Site) -> None:
    """A job that was named by another agent has the same uid, and is another program."""
    code = code_in((await site.create()).urls[80])
    site.jobs[UID] = JOB._replace(agent_uid="B")
    with pytest.raises(AccessDeniedError):
        await site.tickets.enter(code, place())
    del site.jobs[UID]
    with pytest.raises(AccessDeniedError):
        await site.tickets.enter(code, place())


async def test_a_cookie_lets_in_as_long_as_its_creator_may_open_the_job(site: Site) -> None:
    made = await site.create()
    entered = await site.tickets.enter(code_in(made.urls[80]), place())
    unused = code_in((await site.create()).urls[80])
    site.creators.remove(ANN)
    assert site.tickets.admitted([entered.cookie], place(), JOB) is None
    with pytest.raises(AccessDeniedError):
        await site.tickets.enter(unused, place())
    await site.tickets.end_unbacked()
    assert site.tickets.of(UID) == []
    assert end_note(made.ticket.id) in site.notes
    site.creators.add(ANN)
    assert site.tickets.admitted([entered.cookie], place(), JOB) is None


async def test_an_end_that_cannot_be_noted_holds_here(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    made = await site.create()
    entered = await site.tickets.enter(code_in(made.urls[80]), place())
    site.creators.remove(ANN)
    site.lost = True
    await site.tickets.end_unbacked()
    site.creators.add(ANN)
    assert site.tickets.admitted([entered.cookie], place(), JOB) is None
    assert f"job {UID}: the end of ticket {made.ticket.id} is not noted" in caplog.text


async def test_a_revoked_ticket_is_over(site: Site) -> None:
    made = await site.create()
    assert await site.tickets.revoke(UID, made.ticket.id) == made.ticket
    for ticket in (made.ticket.id, "unknown"):
        with pytest.raises(RequestRefusedError, match="the job has no such ticket") as refused:
            await site.tickets.revoke(UID, ticket)
        assert refused.value.status == 404
    with pytest.raises(AccessDeniedError):
        await site.tickets.enter(code_in(made.urls[80]), place())
    ttl = site.times[end_note(made.ticket.id)]
    assert ttl is not None
    assert ttl > 1000


async def test_no_ticket_outlives_the_token_of_its_creator(site: Site) -> None:
    until = time.time() + 50
    made = await site.create(until=until)
    assert made.ticket.expires == int(until)
    code = read_code(KEYS, code_in(made.urls[80]))
    assert code is not None
    assert code.entry.expires == int(until)
    over = await site.create(until=time.time() - 1)
    with pytest.raises(AccessDeniedError):
        await site.tickets.enter(code_in(over.urls[80]), place())
    assert [ticket.id for ticket in site.tickets.of(UID)] == [made.ticket.id]


async def test_tickets_that_cannot_be_made(site: Site) -> None:
    site.has_entrances = False
    with pytest.raises(RequestRefusedError, match=r"jobs have no address of their own here \(forward port 80\)") as no:
        await site.create()
    assert no.value.status == 409
    site.has_entrances = True
    with pytest.raises(RequestRefusedError, match="give it a shorter subject") as no:
        await site.create(subject="x" * 4000)
    assert no.value.status == 400
    assert site.notes == {}
    for _ in range(TICKETS_PER_JOB):
        await site.create()
    with pytest.raises(RequestRefusedError, match=f"the job has {TICKETS_PER_JOB} tickets") as no:
        await site.create()
    assert (no.value.status, no.value.retry_after_s) == (429, 60)


async def test_cookies_of_other_keys_and_of_changed_contents(site: Site) -> None:
    made = await site.create()
    entry = site.tickets.look_at(code_in(made.urls[80]), place()).entry
    good = sign_pass(KEYS, entry)
    assert site.tickets.admitted([good], place(), JOB) is not None
    for value in (
        sign_pass(SigningKeys([b"o" * 32]), entry), good[:-1], good + "x", "", good.swapcase(), code_in(made.urls[80]),
        sign_pass(KEYS, entry._replace(job="1" * 32)), sign_pass(KEYS, entry._replace(expires=int(time.time()) - 1)),
    ):  # fmt: skip
        assert site.tickets.admitted([value], place(), JOB) is None
    # A pass for one port is none for another, which it does not name.
    other = sign_pass(KEYS, entry._replace(place=place(81).text))
    assert site.tickets.admitted([other], place(81), JOB) is None


async def test_the_note_of_a_ticket_names_it(site: Site) -> None:
    made = await site.create(creator=None, subject=None)
    assert isinstance(made.ticket, Ticket)
    assert made.ticket.name == f"ticket {made.ticket.id}"
    assert site.times[ticket_note(made.ticket.id)] == 100
    await site.tickets.enter(code_in(made.urls[80]), place())
    left = site.times[ticket_note(made.ticket.id)]
    assert left is not None
    assert 990 < left <= 1000
