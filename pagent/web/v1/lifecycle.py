"""Start, kill, remove and wait for a job: the operations below ``/v1/jobs/<uid>``."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from pagent.errors import MethodError, MethodNotFoundError, RequestRefusedError
from pagent.limits import TERM_GRACE_S
from pagent.router_limits import API_WAIT_MAX_S
from pagent.web.admission import located, subject_of
from pagent.web.answers import json_answer
from pagent.web.failures import words_of
from pagent.web.routes import KnownJob, RoutedAgent, Routes
from pagent.web.v1.jobs import JobViews
from pagent.web.v1.payloads import KILL, START
from pagent.web.v1.shapes import fault, inside, read_json
from pagent.web.v1.waits import WaitLimit

#: How long a wait is unless the client says it.
_WAIT_S: Final = 60.0

#: The arguments of job_start that agents of the field take, in their order, with their defaults.
_OF_THE_FIELD: Final[Mapping[str, Any]] = {
    "args": None,
    "env": {},
    "cwd": None,
    "port_expected_count": 1,
    "forward_stdout": False,
}


class JobActions:
    """Each answers with the job as it is then."""

    def __init__(self, routes: Routes, views: JobViews) -> None:
        self._routes = routes
        self._views = views
        self._waits = WaitLimit()

    async def start(self, request: web.Request) -> web.Response:
        arguments = start_arguments(await read_json(request, START))
        job, agent = await located(self._routes, request)
        started = await start_job(self._routes, agent, job.job_uid, arguments)
        return json_answer(self._views.view(started))

    async def kill(self, request: web.Request) -> web.Response:
        payload = await read_json(request, KILL, empty={})
        job, agent = await located(self._routes, request)
        signal, grace = payload.get("signal", "TERM"), payload.get("grace", TERM_GRACE_S)
        try:
            info = await agent.call("job_kill", job.job_uid, signal, grace)
        except MethodNotFoundError:
            raise RequestRefusedError(501, "the agent of this job has no way to send it a signal") from None
        return json_answer(self._views.view(self._routes.answered(agent.connection_id, info)))

    async def remove(self, request: web.Request) -> web.Response:
        if await self._routes.pools.cancel(request.match_info["job"]):
            return web.Response(status=204)
        job, agent = await located(self._routes, request)
        try:
            await agent.call("job_remove", job.job_uid)
        except MethodError as error:
            if error.cause_type == "JobNotFoundError":
                self._routes.removed(job.job_uid)
            raise
        self._routes.removed(job.job_uid)
        return web.Response(status=204)

    async def wait(self, request: web.Request) -> web.Response:
        """Answer when no process of the job runs any more, or when the time is over."""
        timeout = _timeout(request)
        job = await self._views.known(request)
        with self._waits.wait(subject_of(request)):
            try:
                async with asyncio.timeout(timeout):
                    await self._routes.until_ended(job.uid)
            except TimeoutError:
                pass
        return json_answer(self._views.view(await self._views.known(request)))


async def start_job(routes: Routes, agent: RoutedAgent, job_uid: str, arguments: Mapping[str, Any]) -> KnownJob:
    """Start a job; return it as it is then. ``arguments``: of :func:`start_arguments`."""
    positional, others = [], dict(arguments)
    if not agent.is_ours:
        positional = [others.pop(name, value) for name, value in _OF_THE_FIELD.items()]
        if others:
            raise RequestRefusedError(400, f"the agent of this job knows no {', '.join(map(repr, others))} of a start")
    try:
        with routes.starting(job_uid):
            info = await agent.call("job_start", job_uid, *positional, **others)
    except MethodError as error:
        if error.cause_type == "FileNotFoundError":  # the program or the folder, which are arguments
            raise RequestRefusedError(400, words_of(error)) from None
        raise
    return routes.answered(agent.connection_id, info)


def start_arguments(payload: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return the arguments of job_start that a body names at a place, checked already. RequestRefusedError 400."""
    arguments = {"env": {}, **payload}
    if (stdin := arguments.get("stdin")) is not None:
        arguments["stdin"] = content_of(inside(place, "stdin"), stdin)
    return arguments


def content_of(place: str, value: Mapping[str, Any]) -> bytes:
    """Return the bytes that a map names as ``text`` or as ``base64``. RequestRefusedError 400."""
    if "text" in value:
        return str(value["text"]).encode()
    try:
        return base64.b64decode(value["base64"], validate=True)
    except (binascii.Error, ValueError):
        raise fault(inside(place, "base64"), "is not base64") from None


def _timeout(request: web.Request) -> float:
    given = request.query.get("timeout", str(_WAIT_S))
    try:
        seconds = float(given) if given.isascii() and len(given) < 32 else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= API_WAIT_MAX_S:
        raise RequestRefusedError(400, f"timeout must be a number of seconds from 0 to {API_WAIT_MAX_S:g}")
    return seconds
