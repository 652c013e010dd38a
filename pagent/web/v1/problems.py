"""Errors of ``/v1`` as problem details (RFC 9457). Handlers and the gate answer in plain text, as everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web

from pagent.web.admission import handed_over
from pagent.web.local import Handler
from pagent.web.route import is_v1

PROBLEM_TYPE: Final = "application/problem+json"

_ERROR: Final = 400
#: Fields of an error that stay: the others describe its text.
_KEPT: Final = ("Retry-After", "WWW-Authenticate", "Allow", "Content-Range", "X-Pagent-Offset")


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Middleware, the outermost: turn each error under ``/v1`` into a problem, and name the request in each answer."""
    if not is_v1(request.path):
        return await handler(request)
    number = handed_over(request).request_id
    try:
        response = await handler(request)
    except web.HTTPException as error:  # of aiohttp's own routing
        response = web.Response(text=error.reason, status=error.status, headers=error.headers)
    if response.prepared:
        return response
    if response.status >= _ERROR and response.content_type == "text/plain":
        assert isinstance(response, web.Response)
        kept = {name: response.headers[name] for name in _KEPT if name in response.headers}
        response = problem(response.status, response.text or "", number, headers=kept)
    return response


def problem(
    status: int, detail: str, number: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> web.Response:
    """Return a problem. ``number``: the id of the request; ``more``: further members."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    members = {"type": "about:blank", "title": title, "status": status, "detail": detail.rstrip("\n")}
    body = orjson.dumps({**members, "request_id": number, **more})
    return web.Response(body=body, status=status, content_type=PROBLEM_TYPE, headers=headers)
