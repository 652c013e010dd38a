"""The control API: identity, jobs and links of the agent as JSON (docs/contract.rst, "Control API")."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from pagent.runtime.timeslice import current_slice
from pagent.web.answers import json_answer, packed
from pagent.web.local import Handler, local_only, plain_errors, text
from pagent.web.metrics import MetricsPage, Source

#: Paths of load balancers and orchestrators, which present no token.
_PROBES: Final = frozenset(("/livez", "/readyz"))
#: Paths whose clients use the host's own address: the Host field is not checked.
_OF_MONITORS: Final = _PROBES | {"/metrics"}


@dataclass(frozen=True)
class ControlFunctions:
    """The functions that the API calls at each request."""

    info: Callable[[], dict[str, Any]]
    jobs: Callable[[], Iterable[dict[str, Any]]]
    connections: Callable[[], list[dict[str, Any]]]
    shutdown: Callable[[], None]
    metrics: Source
    is_ready: Callable[[], bool]


def control_app(
    control: ControlFunctions,
    *,
    allowed_hosts: Collection[str] = (),
    tokens: Callable[[], Collection[str] | None] = lambda: None,
) -> web.Application:
    """Return the application. ``tokens`` returns the tokens that ``Authorization: Bearer`` may have, None for any."""

    async def info(request: web.Request) -> web.Response:
        return json_answer(control.info())

    async def jobs(request: web.Request) -> web.Response:
        entries = []
        for job in control.jobs():
            await current_slice().wait()
            entries.append(packed(job))
        return web.Response(body=b'{"jobs":[%b]}' % b",".join(entries), content_type="application/json")

    async def connections(request: web.Request) -> web.Response:
        return json_answer({"connections": control.connections()})

    async def shutdown(request: web.Request) -> web.Response:
        control.shutdown()
        return json_answer({})

    async def live(request: web.Request) -> web.Response:
        return text("live\n")

    async def ready(request: web.Request) -> web.Response:
        is_ready = control.is_ready()
        return text("ready\n" if is_ready else "no link to a router\n", status=200 if is_ready else 503)

    local = local_only(allowed_hosts)

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await handler(request) if request.path in _OF_MONITORS else await local(request, handler)

    @web.middleware
    async def authorise(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _PROBES:
            return await handler(request)
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        accepted = tokens()
        # All are compared, so that the time does not depend on the tokens.
        fits = [hmac.compare_digest(given, f"Bearer {token}".encode()) for token in accepted or ()]
        if accepted is not None and not any(fits):
            return text("a control token is required", status=401)
        return await handler(request)

    app = web.Application(middlewares=[plain_errors, checked, authorise])
    app.router.add_get("/info", info)
    app.router.add_get("/jobs", jobs)
    app.router.add_get("/connections", connections)
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", MetricsPage(control.metrics).handle)
    app.router.add_post("/shutdown", shutdown)
    return app
