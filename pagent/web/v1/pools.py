"""Pools: ``GET /v1/pools``, and jobs for agents that are started on demand (docs/router.rst, "Pools")."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import web

from pagent.access.operations import JOBS
from pagent.errors import RequestRefusedError
from pagent.rpc.directory import Gate, JobFacts, Subject
from pagent.rpc.pool_job import PoolJob, PoolRequestView, PoolView
from pagent.web.admission import subject_of
from pagent.web.answers import json_answer
from pagent.web.routes import Routes
from pagent.web.v1.views import queued_view, time_text

_ACCEPTED: Final = 202


class PoolRoutes:
    """Pools are visible to every caller that may read; requests to those that may see the job."""

    def __init__(self, routes: Routes, gate: Gate) -> None:
        self._routes = routes
        self._gate = gate

    async def listing(self, request: web.Request) -> web.Response:
        subject = subject_of(request)
        pools = [self._routes.pools.view(name) for name in self._routes.pools.names()]
        return json_answer({"pools": [self._view(pool, subject) for pool in pools if pool is not None]})

    async def show(self, request: web.Request) -> web.Response:
        name = request.match_info["pool"]
        if (pool := self._routes.pools.view(name)) is None:
            raise RequestRefusedError(404, f"pool {name!r} is not found")
        return json_answer(self._view(pool, subject_of(request)))

    async def create(
        self,
        payload: Mapping[str, Any],
        files: Iterable[tuple[str, bytes, bool]],
        start: Mapping[str, Any] | None,
        subject: Subject,
    ) -> web.Response:
        """Answer 202: the job gets an agent of a pool. ``payload``: a body of POST /v1/jobs, checked."""
        for name in ("key", "ticket"):
            if payload.get(name) is not None:
                raise RequestRefusedError(400, f"{name}: a job for an agent of a pool is created without one")
        given = dict(payload["agent"])
        uid = secrets.token_hex(16)
        with self._gate.creation(subject, payload.get("labels", {})) as labels:
            self._gate.permit(subject, JOBS, JobFacts(uid, "", labels))
            linger, idle_after = payload.get("linger"), payload.get("idle_after")
            plain = tuple((path, content, executable) for path, content, executable in files)
            job = PoolJob(uid, payload.get("name"), labels, linger, idle_after, plain, start)
            view = await self._routes.pools.request(given.pop("pool"), given, job)
        return json_answer(queued_view(view), headers={"Location": f"/v1/jobs/{uid}"}, status=_ACCEPTED)

    def _view(self, pool: PoolView, subject: Subject) -> dict[str, Any]:
        return {
            "name": pool.name,
            "max": pool.most,
            "parameters": [*pool.parameters],
            "agents": [*pool.agents],
            "requests": [_request_view(each) for each in pool.requests if self._sees(subject, each)],
        }

    def _sees(self, subject: Subject, request: PoolRequestView) -> bool:
        return self._gate.sees(subject, JobFacts(request.job.uid, request.agent_uid, request.job.labels))


def _request_view(request: PoolRequestView) -> dict[str, Any]:
    return {
        "id": request.rid,
        "state": request.state,
        "agent": request.agent_uid,
        "job": request.job.uid,
        "parameters": dict(request.parameters),
        "message": request.message,
        "created_at": time_text(request.created_at),
    }
