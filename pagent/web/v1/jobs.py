"""Jobs of all agents: ``GET /v1/jobs`` and ``/v1/jobs/<uid>``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from pagent.errors import RequestRefusedError
from pagent.rpc.directory import Gate, JobFacts
from pagent.web.admission import located, subject_of
from pagent.web.answers import json_answer
from pagent.web.routes import KnownJob, Routes
from pagent.web.v1.pages import age_of, cursor_of, page_limit
from pagent.web.v1.views import STATES, job_view

_LABEL: Final = "label."

Filter = Callable[[dict[str, Any]], bool]


class JobViews:
    """Jobs that the caller may see. A job of an agent that is away is UNREACHABLE."""

    def __init__(self, routes: Routes, gate: Gate) -> None:
        self._routes = routes
        self._gate = gate

    async def listing(self, request: web.Request) -> web.Response:
        limit, subject, fits = page_limit(request), subject_of(request), _filter(request)
        found, following, last = list[dict[str, Any]](), None, (0.0, "")
        for job in self._routes.jobs(age_of(request.query.get("after"))):
            if not self._gate.sees(subject, _facts(job)):
                continue
            view = self.view(job)
            if not fits(view):
                continue
            if len(found) == limit:
                following = cursor_of(last)
                break
            found.append(view)
            last = job.age
        return json_answer({"jobs": found, "next": following})

    async def show(self, request: web.Request) -> web.Response:
        return json_answer(self.view(await self.known(request)))

    async def known(self, request: web.Request) -> KnownJob:
        """Return the job that a request names. RequestRefusedError 404; 503 if agents are not back yet."""
        uid = request.match_info["job"]
        job = self._routes.job(uid)
        if job is None:
            await located(self._routes, request)  # its agent may have to be asked, or waited for
            job = self._routes.job(uid)
        if job is None:
            raise RequestRefusedError(404, f"job {uid!r} is not found")
        return job

    def view(self, job: KnownJob) -> dict[str, Any]:
        """Return a job as a GET answers it."""
        return job_view(job, away=self._routes.is_away(job.uid))


def _facts(job: KnownJob) -> JobFacts:
    return JobFacts(job.uid, job.agent_uid, job.labels)


def _filter(request: web.Request) -> Filter:
    """Return the condition that the query states. RequestRefusedError 400."""
    if (state := request.query.get("state")) is not None and state not in STATES:
        raise RequestRefusedError(400, f"state must be one of {', '.join(STATES)}")
    wanted = {name: request.query[name] for name in ("agent", "state") if name in request.query}
    labels = {name.removeprefix(_LABEL): value for name, value in request.query.items() if name.startswith(_LABEL)}

    def fits(view: dict[str, Any]) -> bool:
        return all(view[name] == value for name, value in wanted.items()) and all(
            view["labels"].get(name) == value for name, value in labels.items()
        )

    return fits
