"""The application of the dashboard: the files of its page, and ``/v1``, which is all that the page uses.

No traffic of jobs is served on this origin, because a page of a job could then act with the token of the dashboard's
user. Files and output of jobs are never run by a browser, whatever their type.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from pagent.access import operations
from pagent.rpc.directory import Gate
from pagent.web.api_app import api_app
from pagent.web.dashboard.assets import load_assets
from pagent.web.local import text
from pagent.web.route import Route
from pagent.web.routes import Routes
from pagent.web.v1.event_feed import EventFeed
from pagent.web.v1.table import v1_routes

#: Of all answers but the page and its files, which have a policy of their own: a browser runs and frames nothing.
_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
_FIELDS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


def dashboard_routes(routes: Routes, gate: Gate, feed: EventFeed) -> list[Route]:
    """Return all routes of the listener."""
    return [
        *(Route("GET", path, operations.PAGE, asset.answer) for path, asset in sorted(load_assets().items())),
        Route("GET", "/livez", operations.PROBE, _live),
        *v1_routes(routes, gate, feed),
    ]


def dashboard_app(routes: Routes, gate: Gate, feed: EventFeed) -> web.Application:
    """Return the application."""
    app = api_app(routes, gate, dashboard_routes(routes, gate, feed))
    app.on_response_prepare.append(_protect)
    return app


async def _live(request: web.Request) -> web.Response:
    return text("live\n")


async def _protect(request: web.Request, response: web.StreamResponse) -> None:
    """For ``on_response_prepare``."""
    for name, value in _FIELDS.items():
        response.headers.setdefault(name, value)
