"""Tickets of a job: POST and GET of ``/v1/jobs/<uid>/tickets``, and DELETE of one (docs/access.rst, "Tickets")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from pagent.access.operations import TICKETS
from pagent.access.ticket import time_text
from pagent.access.tickets import TicketTerms
from pagent.errors import RequestRefusedError
from pagent.job_states import ENDED, RUNNING
from pagent.router_limits import TICKET_TTL_MAX_S
from pagent.rpc.directory import Creator, Gate, JobFacts, Subject
from pagent.web.admission import located, subject_of
from pagent.web.answers import json_answer
from pagent.web.routes import KnownJob, Routes
from pagent.web.v1.pages import age_of, cursor_of, page_limit
from pagent.web.v1.payloads import TICKET
from pagent.web.v1.shapes import read_json

_CODE_S: Final = 60
#: States of a job that has no ports any more.


class TicketRoutes:
    """No answer but that of the creation has a code."""

    def __init__(self, routes: Routes, gate: Gate) -> None:
        self._routes = routes
        self._gate = gate

    async def create(self, request: web.Request) -> web.Response:
        payload = await read_json(request, TICKET, empty={})
        job = await self._job(request)
        return json_answer(await self.make(job, payload, subject_of(request)), status=201)

    async def make(self, job: KnownJob, payload: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
        """Make a ticket for a job by a body that was checked; return the answer. RequestRefusedError."""
        facts = JobFacts(job.uid, job.agent_uid, job.labels)
        self._gate.permit(subject, TICKETS, facts)
        ports = _ports(job, payload)
        terms = self._terms(payload, ports, subject)
        creator = None if subject.name is None else Creator(subject.name, not subject.credential)
        made = await self._routes.tickets.create(facts, ports[0], terms, creator)
        urls = {str(port): url for port, url in made.urls.items()}
        return {"id": made.ticket.id, "urls": urls, "expires_at": time_text(made.ticket.expires)}

    def _terms(self, payload: Mapping[str, Any], ports: list[int], subject: Subject) -> TicketTerms:
        wanted = payload.get("ports", ports[:1])
        if absent := [port for port in wanted if port not in ports]:
            raise RequestRefusedError(400, f"the job has no port {absent[0]}; it has {', '.join(map(str, ports))}")
        return TicketTerms(
            ports=tuple(wanted),
            ttl_s=payload.get("ttl_s", TICKET_TTL_MAX_S),
            code_s=payload.get("code_s", _CODE_S),
            embed=payload.get("embed", False),
            subject=payload.get("subject"),
            note=payload.get("note"),
            until=self._gate.rights(subject).expires,
        )

    async def listing(self, request: web.Request) -> web.Response:
        limit, after = page_limit(request), age_of(request.query.get("after"))
        job = await self._job(request)
        tickets = [ticket for ticket in self._routes.tickets.of(job.uid) if after is None or ticket.age > after]
        following = cursor_of(tickets[limit - 1].age) if len(tickets) > limit else None
        return json_answer({"tickets": [ticket.view() for ticket in tickets[:limit]], "next": following})

    async def revoke(self, request: web.Request) -> web.Response:
        job = await self._job(request)
        await self._routes.tickets.revoke(job.uid, request.match_info["ticket"])
        return web.Response(status=204)

    async def _job(self, request: web.Request) -> KnownJob:
        address, _ = await located(self._routes, request)
        job = self._routes.job(address.job_uid)
        if job is None:
            raise RequestRefusedError(404, f"job {address.job_uid!r} is not found")
        return job


def _ports(job: KnownJob, payload: Mapping[str, Any]) -> list[int]:
    """Return the ports of a job, the main one first. RequestRefusedError 409 if a browser cannot use it.

    Agents of the field do not say the port of a job, which has only one: then it is the one that the caller names.
    """
    if job.state in ENDED:
        raise RequestRefusedError(409, "the job has ended")
    info = job.info()
    if "ports" not in info and job.state == RUNNING:
        if len(named := payload.get("ports", ())) != 1:
            raise RequestRefusedError(400, "the agent of this job does not say its port: name it in ports")
        return [*named]
    ports = [port for port in info.get("ports") or () if type(port) is int]
    if not ports:
        raise RequestRefusedError(409, "the job has no ports yet: it has to be started, and to report its ports")
    return ports
