"""The port report: where jobs say on which port they listen (docs/contract.rst, "Port report")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from pagent.web.local import local_only, plain_errors, text

REPORT_PATH = "/job_started"


def report_app(report: Callable[[Sequence[tuple[str, str]]], Awaitable[None]]) -> web.Application:
    """``report`` takes the query's pairs, and raises ValueError with the reason if it does not accept them."""

    async def job_started(request: web.Request) -> web.Response:
        try:
            await report(list(request.query.items()))
        except ValueError as error:
            return text(str(error), status=400)
        return text("OK")

    app = web.Application(middlewares=[plain_errors, local_only(())])
    app.router.add_get(REPORT_PATH, job_started, allow_head=False)
    return app
