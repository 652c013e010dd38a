"""The routes of a router that create, start, watch and end jobs."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from pagent.errors import MethodError, RequestRefusedError, ServerError
from pagent.runtime.tasks import retrieve_error
from pagent.web.admission import located, note_agent, subject_of
from pagent.web.answers import json_answer
from pagent.web.failures import words_of
from pagent.web.payloads import CREATE, START, read_payload
from pagent.web.routes import RoutedAgent, Routes


class JobRoutes:
    """Each answers with the job's info, the path of the job, its agent, and the time that it outlives its link."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def create(self, request: web.Request) -> web.Response:
        payload = await read_payload(request, CREATE)
        # Shielded: a call that is given up because the client is gone may have made a job, which would stay.
        creation = asyncio.ensure_future(self._routes.create(payload["agent"], payload["name"], subject_of(request)))
        creation.add_done_callback(retrieve_error)
        agent, info = await asyncio.shield(creation)
        note_agent(request, agent, info["uid"])
        return _answer(agent, info)

    async def start(self, request: web.Request) -> web.Response:
        payload = await read_payload(request, START)
        job, agent = await located(self._routes, request)
        ports, forwarded = payload.get("port_expected_count", 1), payload.get("forward_stdout", False)
        arguments = (payload["args"], payload["env"], payload.get("cwd"), ports, forwarded)
        try:
            with self._routes.starting(job.job_uid):
                info = await agent.call("job_start", job.job_uid, *arguments)
        except MethodError as error:
            if error.cause_type == "FileNotFoundError":  # the program or the folder, which are arguments
                raise RequestRefusedError(400, words_of(error)) from None
            raise
        return self._noted(agent, info)

    async def wait(self, request: web.Request) -> web.Response:
        job, agent = await located(self._routes, request)
        return self._noted(agent, await agent.call("job_wait", job.job_uid))

    async def info(self, request: web.Request) -> web.Response:
        job, agent = await located(self._routes, request)
        return self._noted(agent, await agent.call("job_info", job.job_uid))

    async def remove(self, request: web.Request) -> web.Response:
        job, agent = await located(self._routes, request)
        try:
            info = await agent.call("job_remove", job.job_uid)
        except MethodError as error:
            if error.cause_type == "JobNotFoundError":
                self._routes.removed(job.job_uid)
            raise
        self._routes.removed(job.job_uid)
        return _answer(agent, info)

    def _noted(self, agent: RoutedAgent, info: Any) -> web.Response:
        answer = _answer(agent, info)
        self._routes.noted(agent.connection_id, info)
        return answer


def _answer(agent: RoutedAgent, info: Any) -> web.Response:
    if not isinstance(info, dict) or not isinstance(info.get("uid"), str):
        raise ServerError("the agent's answer is not the info of a job")
    path = f"/jobs/{agent.connection_id}/{info['uid']}"
    return json_answer({**info, "path": path, "agent": agent.describe(), "linger": agent.linger})
