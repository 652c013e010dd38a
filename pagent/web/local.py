"""Local endpoints: which requests they accept, and the form of their answers (docs/contract.rst, "Local endpoints")."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Middleware

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Of each answer: it is neither kept nor taken for something that it is not.
HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def text(body: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer of plain text."""
    return web.Response(text=body, status=status, headers=headers)


@web.middleware
async def plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Middleware that makes the errors of routing plain texts, which repeat nothing of the request."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        allow = error.headers.get("Allow")  # RFC 9110 15.5.6
        return text(error.reason, status=error.status, headers=None if allow is None else {"Allow": allow})


def is_loopback_name(host: str) -> bool:
    """Whether a host name or address, without its port, can only mean this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _authority(text: str) -> tuple[str, int | None]:
    """Host and port of an authority; an empty host if it is none."""
    try:
        parts = urlsplit(f"//{text}")
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None


def _origin(text: str) -> tuple[str, int | None]:
    """Host and port of an Origin: ``null`` and whatever else is not of the web has an empty host."""
    scheme, separator, authority = text.partition("://")
    return _authority(authority) if separator and scheme in ("http", "https") else ("", None)


def local_only(allowed_hosts: Collection[str]) -> Middleware:
    """Middleware that refuses what comes from a foreign web page.

    A page can make a browser send requests here, and by DNS rebinding even read the answers: then ``Host`` is the
    page's, and otherwise ``Origin`` or ``Sec-Fetch-Site`` tell. Programs send neither of the two.
    """
    allowed = {host.lower() for host in allowed_hosts}

    def is_ours(host: str) -> bool:
        return is_loopback_name(host) or host in allowed

    def refusal(request: web.Request) -> str | None:
        headers = request.headers
        hosts = [_authority(text) for text in headers.getall("Host", [])]
        if not hosts:
            # Only an HTTP/1.0 client may leave it out, and no browser does.
            foreign = "Origin" in headers or "Sec-Fetch-Site" in headers
            return "requests of foreign pages are refused" if foreign else None
        if not is_ours(hosts[0][0]):
            return "this host name is not served here"
        # Another port is another page's, of a job for example.
        port = hosts[0][1]
        origins = [_origin(text) for text in headers.getall("Origin", [])]
        sites = headers.getall("Sec-Fetch-Site", [])
        if any(not is_ours(host) or other != port for host, other in origins) or set(sites) - {"none", "same-origin"}:
            return "requests of foreign pages are refused"
        return None

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        named = len(request.headers.getall("Host", []))
        if named > 1 or (named == 0 and request.version >= HttpVersion11):  # RFC 9112 3.2
            return text("a request has one Host", status=400)
        if (reason := refusal(request)) is not None:
            return text(reason, status=403)
        return await handler(request)

    return check
