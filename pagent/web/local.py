"""Local endpoints: which requests they accept, and the form of their answers (docs/contract.rst, "Local endpoints")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Middleware

from pagent.access.hosts import foreign, is_loopback_name

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Fields of each response: it is not cached, and its type is not guessed.
HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def text(body: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response of plain text."""
    return web.Response(text=body, status=status, headers=headers)


@web.middleware
async def plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Middleware: respond to routing errors in plain text that contains nothing of the request."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        allow = error.headers.get("Allow")  # RFC 9110 15.5.6
        return text(error.reason, status=error.status, headers=None if allow is None else {"Allow": allow})


def local_only(allowed_hosts: Collection[str]) -> Middleware:
    """Middleware: refuse requests of foreign web pages.

    :mod:`pagent.access.hosts` says how that is known.
    """
    allowed = {host.lower() for host in allowed_hosts}

    def is_ours(host: str) -> bool:
        return is_loopback_name(host) or host in allowed

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        named = len(request.headers.getall("Host", []))
        if named > 1 or (named == 0 and request.version >= HttpVersion11):  # RFC 9112 3.2
            return text("a request must have one Host field", status=400)
        headers = request.headers
        hosts, origins, sites = (headers.getall(name, []) for name in ("Host", "Origin", "Sec-Fetch-Site"))
        if (reason := foreign(hosts, origins, sites, is_ours)) is not None:
            return text(reason, status=403)
        return await handler(request)

    return check
