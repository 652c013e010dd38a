"""The HTTP API of a router: docs/router.rst, "HTTP API".

It stands on the router's table of agents (:class:`~pagent.web.routes.Routes`) and knows nothing beyond it. Each route
names the operation that the gate judges it by. Traffic of jobs does not come here: that is the front's.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from aiohttp import web

from pagent.access import operations
from pagent.rpc.directory import Gate
from pagent.web.answers import empty_answer, json_answer, plain_answer
from pagent.web.api_app import api_app
from pagent.web.local import text
from pagent.web.metrics import MetricsPage
from pagent.web.route import Route, named
from pagent.web.router_files import FileRoutes
from pagent.web.router_jobs import JobRoutes
from pagent.web.routes import Routes
from pagent.web.rpc_app import ConnectClient, accept_client
from pagent.web.v1.event_feed import EventFeed
from pagent.web.v1.table import v1_routes
from pagent.web.wsconnect import WebSocketJoins
from pagent.wire.upgrade import RPC_PATH

_ANY: Final = "*"
_JOB: Final = "/jobs/{connection}/{job}"


def routes_of(routes: Routes, joins: WebSocketJoins, connect: ConnectClient) -> list[Route]:
    """Return all routes."""
    jobs, files, router = JobRoutes(routes), FileRoutes(routes), _RouterRoutes(routes)
    return [
        Route("GET", RPC_PATH, operations.RPC, partial(accept_client, connect)),
        Route("GET", "/livez", operations.PROBE, router.live),
        Route("GET", "/readyz", operations.PROBE, router.ready),
        Route("GET", "/metrics", operations.METRICS, MetricsPage(routes.metrics).handle),
        Route("GET", "/info", operations.NONE, router.info),
        Route("GET", "/connections", operations.READ, router.connections),
        Route("POST", "/shutdown", operations.ADMIN, router.shutdown, named("shutdown")),
        Route("POST", "/jobs/create", operations.JOBS, jobs.create, named("job_create")),
        Route("POST", f"{_JOB}/start", operations.JOBS, jobs.start, named("job_start")),
        Route("POST", f"{_JOB}/wait", operations.READ, jobs.wait),
        Route("GET", f"{_JOB}/info", operations.READ, jobs.info),
        Route("POST", f"{_JOB}/info", operations.READ, jobs.info),
        Route("POST", f"{_JOB}/remove", operations.JOBS, jobs.remove, named("job_remove")),
        Route("POST", f"{_JOB}/wsconnect/{{rest:.*}}", operations.WSCONNECT, joins.connect, named("wsconnect")),
        Route(_ANY, f"{_JOB}/file/{{rest:.+}}", operations.FILES, files.file, _file_action),
        Route(_ANY, f"{_JOB}/archive", operations.FILES, files.archive, _archive_action),
    ]


def router_app(
    routes: Routes, gate: Gate, joins: WebSocketJoins, connect: ConnectClient, feed: EventFeed
) -> web.Application:
    """Return the application. ``connect`` returns an object for a new link of a client, or None: shutting down."""
    return api_app(routes, gate, [*routes_of(routes, joins, connect), *v1_routes(routes, gate, feed)])


def _file_action(request: web.Request) -> str | None:
    if request.method == "POST":
        return "file_upload"
    return "file_remove" if request.query.get("remove") == "1" else None


def _archive_action(request: web.Request) -> str | None:
    return "archive_upload" if request.method == "POST" else None


class _RouterRoutes:
    """Handle requests about the router itself."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def live(self, request: web.Request) -> web.Response:
        return text("live\n")

    async def ready(self, request: web.Request) -> web.Response:
        ready = self._routes.is_ready
        return text("ready\n" if ready else "waiting for agents\n", status=200 if ready else 503)

    async def info(self, request: web.Request) -> web.Response:
        return json_answer(self._routes.info())

    async def connections(self, request: web.Request) -> web.Response:
        found = [
            {"uid": agent.connection_id, "mode": agent.mode, "peer": agent.data} for agent in self._routes.agents()
        ]
        return plain_answer({"connections": found})

    async def shutdown(self, request: web.Request) -> web.Response:
        self._routes.end()
        return empty_answer()
