"""Jobs of all agents: ``GET /v1/jobs`` and ``/v1/jobs/<uid>``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from aiohttp import web

from pagent.errors import RequestRefusedError
from pagent.job_states import UNREACHABLE
from pagent.rpc.directory import Gate, JobFacts
from pagent.runtime.timeslice import current_slice
from pagent.web.admission import located, subject_of
from pagent.web.answers import json_answer
from pagent.web.routes import KnownJob, Routes
from pagent.web.v1.pages import age_of, cursor_of, page_limit
from pagent.web.v1.views import STATES, job_view

_LABEL: Final = "label."

#: Whether a job is listed.
Filter = Callable[[KnownJob], bool]


class JobViews:
    """Jobs that the caller may see. A job of an agent that is away is UNREACHABLE."""

    def __init__(self, routes: Routes, gate: Gate) -> None:
        self._routes = routes
        self._gate = gate

    async def listing(self, request: web.Request) -> web.Response:
        limit, after = page_limit(request), age_of(request.query.get("after"))
        ended, fits = _is_ended(request), self._filter(request)
        jobs = self._ended(after) if ended else self._known(after)
        found = list[KnownJob]()
        async for job in jobs:
            if fits(job):
                found.append(job)
            if len(found) > limit:
                break
        page, following = found[:limit], cursor_of(found[limit - 1].age) if len(found) > limit else None
        views = [job_view(job, away=not ended and self._routes.is_away(job.uid)) for job in page]
        return json_answer({"jobs": views, "next": following})

    async def _known(self, after: tuple[float, str] | None) -> AsyncIterator[KnownJob]:
        """Yield the jobs that the router knows. There may be many of them, so other work has its turn meanwhile."""
        slices = current_slice()
        while True:
            for job in self._routes.jobs(after):
                after = job.age
                yield job
                if slices.is_over():
                    break
            else:
                return
            await slices.wait()

    async def _ended(self, after: tuple[float, str] | None) -> AsyncIterator[KnownJob]:
        """Yield the jobs that have ended."""
        for job in await self._routes.ended_jobs():
            if after is None or job.age > after:
                yield job

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

    def _filter(self, request: web.Request) -> Filter:
        """Return the condition that the query states, for jobs that the caller sees. RequestRefusedError 400."""
        query, subject = request.query, subject_of(request)
        agent, state = query.get("agent"), query.get("state")
        if state is not None and state not in STATES:
            raise RequestRefusedError(400, f"state must be one of {', '.join(STATES)}")
        labels = {name.removeprefix(_LABEL): value for name, value in query.items() if name.startswith(_LABEL)}
        ended = _is_ended(request)

        def fits(job: KnownJob) -> bool:
            if not all(job.labels.get(name) == value for name, value in labels.items()):
                return False
            if agent is not None and job.agent_uid != agent:
                return False
            if state is not None and self._state(job, ended) != state:
                return False
            return self._gate.sees(subject, JobFacts(job.uid, job.agent_uid, job.labels))

        return fits

    def _state(self, job: KnownJob, ended: bool) -> str:
        return UNREACHABLE if not ended and self._routes.is_away(job.uid) else job.state


def _is_ended(request: web.Request) -> bool:
    """Return whether jobs that have ended are listed. RequestRefusedError 400."""
    given = request.query.get("ended", "false")
    if given not in _FLAGS:
        raise RequestRefusedError(400, f"ended must be one of {', '.join(filter(None, _FLAGS))}")
    return _FLAGS[given]


_FLAGS: Final = {"true": True, "1": True, "": True, "false": False, "0": False}
