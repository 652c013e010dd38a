"""The application of a table of routes: each request passes the gate, and errors are answered in one form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from pagent.access import operations
from pagent.rpc.directory import Gate
from pagent.system_errors import SYSTEM_ERRORS, system_refusal
from pagent.web.admission import ApiAdmission, job_of
from pagent.web.failures import EXPECTED, answer_to
from pagent.web.handover import until_the_end
from pagent.web.local import Handler
from pagent.web.route import Route
from pagent.web.routes import Routes
from pagent.web.v1.problems import as_problems

#: Operations of upgrade requests, which have no HEAD.
_UPGRADES: Final = (operations.RPC, operations.EXEC)


def api_app(routes: Routes, gate: Gate, table: Sequence[Route]) -> web.Application:
    """Return the application."""
    admission = ApiAdmission(
        routes,
        gate,
        {route.handler: route.operation for route in table},
        {route.handler: route.action for route in table if route.action is not None},
    )
    app = web.Application(middlewares=[as_problems, until_the_end, admission.middleware, _merged_slashes, _answered])
    heads = {route.path for route in table if route.method == "HEAD"}
    for route in table:
        resource = app.router.add_resource(route.path)
        resource.add_route(route.method, route.handler, expect_handler=admission.before_the_body)
        if route.method == "GET" and route.path not in heads and route.operation not in _UPGRADES:
            resource.add_route("HEAD", route.handler)
    return app


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
    except SYSTEM_ERRORS as fault:
        refusal = system_refusal(fault, place="the router")
        if refusal is None:
            raise
        return answer_to(refusal)
