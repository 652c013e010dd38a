"""The HTTP API of a router: docs/router.rst, "HTTP API".

It stands on the router's table of agents (:class:`~pagent.web.routes.Routes`) and knows nothing beyond it. Each route
names the operation that the gate judges it by. Traffic of jobs does not come here: that is the front's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from aiohttp import web

from pagent.access import gate as operations
from pagent.errors import RequestRefusedError
from pagent.rpc.directory import Gate, JobAddress
from pagent.web.answers import empty_answer, json_answer, plain_answer
from pagent.web.failures import EXPECTED, answer_to
from pagent.web.handover import HandedOver, until_the_end
from pagent.web.local import Handler, text
from pagent.web.router_files import FileRoutes
from pagent.web.router_jobs import JobRoutes
from pagent.web.routes import Routes
from pagent.web.rpc_app import Connect, accept_client
from pagent.web.wsconnect import WebSocketJoins
from pagent.wire.upgrade import RPC_PATH

_ANY: Final = "*"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_JOB: Final = "/jobs/{connection}/{job}"


class Route(NamedTuple):
    """One route of the API. ``operation``: what the gate is asked about."""

    method: str
    path: str
    operation: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes_of(routes: Routes, joins: WebSocketJoins, connect: Connect) -> list[Route]:
    """Return all routes."""
    jobs, files, router = JobRoutes(routes), FileRoutes(routes), _RouterRoutes(routes)
    return [
        Route("GET", RPC_PATH, operations.RPC, partial(accept_client, connect)),
        Route("GET", "/livez", operations.PROBE, router.live),
        Route("GET", "/readyz", operations.PROBE, router.ready),
        Route("GET", "/info", operations.NONE, router.info),
        Route("GET", "/connections", operations.READ, router.connections),
        Route("POST", "/shutdown", operations.ADMIN, router.shutdown),
        Route("POST", "/jobs/create", operations.JOBS, jobs.create),
        Route("POST", f"{_JOB}/start", operations.JOBS, jobs.start),
        Route("POST", f"{_JOB}/wait", operations.READ, jobs.wait),
        Route("GET", f"{_JOB}/info", operations.READ, jobs.info),
        Route("POST", f"{_JOB}/info", operations.READ, jobs.info),
        Route("POST", f"{_JOB}/remove", operations.JOBS, jobs.remove),
        Route("POST", f"{_JOB}/wsconnect/{{rest:.*}}", operations.WSCONNECT, joins.connect),
        Route(_ANY, f"{_JOB}/file/{{rest:.+}}", operations.FILES, files.file),
        Route(_ANY, f"{_JOB}/archive", operations.FILES, files.archive),
    ]


def router_app(routes: Routes, gate: Gate, joins: WebSocketJoins, connect: Connect) -> web.Application:
    """Return the application. ``connect`` returns an object for a new link of a client, or None: shutting down."""
    table = routes_of(routes, joins, connect)
    operation_of = {route.handler: route.operation for route in table}

    def refusal(request: web.Request) -> web.Response | None:
        """Ask the gate; return the answer to a request that may not pass."""
        operation = operation_of.get(request.match_info.handler, operations.NONE)
        protocol = request.protocol
        assert isinstance(protocol, HandedOver)
        try:
            gate.judge(operation, job_of(request), protocol.head, protocol.client)
        except RequestRefusedError as error:
            return answer_to(error)
        return None

    @web.middleware
    async def judged(request: web.Request, handler: Handler) -> web.StreamResponse:
        return refusal(request) or await handler(request)

    async def judged_before_the_body(request: web.Request) -> web.Response | None:
        """Let the client send the body that it has announced with ``Expect: 100-continue``, if it may pass."""
        if (answer := refusal(request)) is None and request.transport is not None:
            request.transport.write(_CONTINUE)
        return answer

    app = web.Application(middlewares=[until_the_end, judged, _merged_slashes, _answered])
    for route in table:
        resource = app.router.add_resource(route.path)
        resource.add_route(route.method, route.handler, expect_handler=judged_before_the_body)
        if route.method == "GET" and route.operation != operations.RPC:
            resource.add_route("HEAD", route.handler)
    return app


def job_of(request: web.Request) -> JobAddress | None:
    """Return the job that a request names in its path."""
    match = request.match_info
    return JobAddress(match["connection"], match["job"]) if "job" in match else None


_merged_slashes: Final = web.normalize_path_middleware(
    append_slash=False, merge_slashes=True, redirect_class=web.HTTPMovedPermanently
)


@web.middleware
async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer the errors that operations on agents end with."""
    job = job_of(request)
    try:
        return await handler(request)
    except EXPECTED as error:
        return answer_to(error, job_uid=job.job_uid if job else None)


class _RouterRoutes:
    """What concerns the router itself."""

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
