"""Pools: ``GET /v1/pools`` (docs/router.rst, "Pools")."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from pagent.errors import RequestRefusedError
from pagent.rpc.directory import Gate, JobFacts, Subject
from pagent.rpc.pool_job import PoolRequestView, PoolView
from pagent.web.admission import subject_of
from pagent.web.answers import json_answer
from pagent.web.routes import Routes


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

    def _view(self, pool: PoolView, subject: Subject) -> dict[str, Any]:
        return {
            "name": pool.name,
            "max": pool.most,
            "parameters": [*pool.parameters],
            "agents": [*pool.agents],
            "requests": [each.json_object() for each in pool.requests if self._sees(subject, each)],
        }

    def _sees(self, subject: Subject, request: PoolRequestView) -> bool:
        return self._gate.sees(subject, JobFacts(request.job.uid, request.agent_uid, request.job.labels))
