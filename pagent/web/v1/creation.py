"""``POST /v1/jobs``: create a job, upload its files and start it, in one request (docs/api.rst, "Creating a job")."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import web

from pagent.errors import MethodError, RequestRefusedError
from pagent.job_states import ENDED, QUEUED
from pagent.rpc.directory import Subject
from pagent.rpc.new_job import ORDERS, AgentChoice, NewJob
from pagent.runtime.tasks import retrieve_error
from pagent.web.admission import note_agent, subject_of
from pagent.web.answers import json_answer
from pagent.web.failures import refusal_of_method
from pagent.web.routes import KnownJob, RoutedAgent, RoutedJob, Routes
from pagent.web.v1.jobs import JobViews
from pagent.web.v1.lifecycle import content_of, start_arguments, start_job
from pagent.web.v1.payloads import NEW_JOB
from pagent.web.v1.shapes import read_json
from pagent.web.v1.tickets import TicketRoutes
from pagent.wire import messages

_CREATED: Final = 201
_ACCEPTED: Final = 202
_FOUND: Final = 200


class GivenFile(NamedTuple):
    path: str
    content: bytes
    executable: bool


class CreationRequest(NamedTuple):
    """A request that was checked. ``start``: the arguments of job_start; None if the job is not to be started.

    ``ticket``: the terms of a ticket for the job; None for none.
    """

    job: NewJob
    files: list[GivenFile]
    start: dict[str, Any] | None
    ticket: Mapping[str, Any] | None


class CreationAnswer(NamedTuple):
    """``is_new``: whether this request has created it or gone on with it. ``ticket``: None if it wants none."""

    job: KnownJob
    is_new: bool
    ticket: Mapping[str, Any] | None


class JobCreationRoute:
    """Creates jobs; each request is carried to its end even if its client goes."""

    def __init__(self, routes: Routes, views: JobViews, tickets: TicketRoutes) -> None:
        self._routes = routes
        self._views = views
        self._tickets = tickets

    async def create(self, request: web.Request) -> web.Response:
        payload = await read_json(request, NEW_JOB)
        wanted = _parsed(payload)
        # Shielded: a call that is given up because the client is gone may have made a job, which would stay.
        gone = asyncio.Event()
        creation = asyncio.ensure_future(self._created(wanted, subject_of(request), request, gone))
        creation.add_done_callback(retrieve_error)
        try:
            created = await asyncio.shield(creation)
        except asyncio.CancelledError:
            gone.set()
            raise
        headers = {"Location": f"/v1/jobs/{created.job.uid}"}
        ticket = {} if wanted.ticket is None else {"ticket": created.ticket}
        view = {**self._views.view(created.job), **ticket}
        queued = created.job.state == QUEUED
        status = _ACCEPTED if queued else _CREATED if created.is_new else _FOUND
        return json_answer(view, headers=headers, status=status)

    async def _created(
        self, wanted: CreationRequest, subject: Subject, request: web.Request, gone: asyncio.Event
    ) -> CreationAnswer:
        async with self._routes.new_job(wanted.job, subject) as created:
            if created.agent is not None:
                note_agent(request, created.agent, created.job.uid)
            job = await self._completed(created, wanted)
            if gone.is_set() and wanted.job.key is None:
                raise RequestRefusedError(408, "the client is gone")
            ticket = None
            # It may have ended before a repeated request, and a job that waits for its agent has no ports yet.
            if wanted.ticket is not None and job.state not in (*ENDED, QUEUED):
                ticket = await self._tickets.make(job, wanted.ticket, subject)
            return CreationAnswer(job, created.is_new or job is not created.job, ticket)

    async def _completed(self, created: RoutedJob, wanted: CreationRequest) -> KnownJob:
        """Upload the files of a job and start it, unless that was done before."""
        job, agent = created.job, created.agent
        if not job.is_new or not (wanted.files or wanted.start is not None):
            return job
        if agent is None:
            raise RequestRefusedError(503, "the agent of this job is not connected now", retry_after_s=2)
        for index, file in enumerate(wanted.files):
            await _upload(agent, job.uid, index, file)
        if wanted.start is None:
            return job
        try:
            return await start_job(self._routes, agent, job.uid, wanted.start)
        except MethodError as error:
            if wanted.job.key is None or error.cause_type != "JobInvalidStateError":
                raise
        # Another router has started it meanwhile.
        return self._routes.answered(agent.connection_id, await agent.call("job_info", job.uid))


async def _upload(agent: RoutedAgent, job_uid: str, index: int, file: GivenFile) -> None:
    upload = agent.open_stream(messages.OSTREAM, "file_upload", job_uid, file.path, file.executable)
    try:
        async with upload as stream:
            await stream.send(file.content)
            stream.close()
            await stream.result()
    except MethodError as error:
        refusal = refusal_of_method(error)
        words = f"files[{index}].path: {refusal}"
        raise RequestRefusedError(refusal.status, words, retry_after_s=refusal.retry_after_s) from None


def _parsed(payload: Mapping[str, Any]) -> CreationRequest:
    """Return the creation that a checked body describes. RequestRefusedError 400."""
    start = payload.get("start")
    files = [
        GivenFile(each["path"], content_of(f"files[{index}]", each), each.get("executable", False))
        for index, each in enumerate(payload.get("files", ()))
    ]
    ticket = payload.get("ticket")
    if ticket is not None and start is None:
        raise RequestRefusedError(400, "ticket needs start: a job that is not started has no ports")
    arguments = None if start is None else start_arguments(start, "start")
    return CreationRequest(_job(payload, files, arguments), files, arguments, ticket)


def _job(payload: Mapping[str, Any], files: list[GivenFile], start: dict[str, Any] | None) -> NewJob:
    return NewJob(
        payload.get("name"),
        _choice(payload.get("agent")),
        payload.get("labels", {}),
        payload.get("linger"),
        payload.get("idle_after"),
        payload.get("key"),
        hashlib.sha256(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        tuple((file.path, file.content, file.executable) for file in files),
        start,
    )


def _choice(agent: Any) -> AgentChoice:
    if isinstance(agent, str):
        return AgentChoice(uid=agent)
    given = agent or {}
    if "pool" in given:
        return AgentChoice(
            pool=given["pool"], parameters={name: each for name, each in given.items() if name != "pool"}
        )
    return AgentChoice(None, given.get("where", {}), given.get("order", ORDERS[0]))
