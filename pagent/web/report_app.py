"""The port report: jobs report the port that they listen on (docs/contract.rst, "Port report")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from pagent.web.local import local_only, plain_errors, text

REPORT_PATH = "/job_started"


def report_app(report: Callable[[Sequence[tuple[str, str]]], Awaitable[None]]) -> web.Application:
    """Return the application. ``report`` gets the pairs of the query, and raises ValueError if it refuses them."""

    async def job_started(request: web.Request) -> web.Response:
        try:
            await report(list(request.query.items()))
        except ValueError as error:
            return text(str(error), status=400)
        return text("OK")

    app = web.Application(middlewares=[plain_errors, local_only(())])
    app.router.add_get(REPORT_PATH, job_started, allow_head=False)
    return app
