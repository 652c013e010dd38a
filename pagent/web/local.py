"""What local endpoints have in common: who may use them, what answers look like (spec agent.md, "Local endpoints")."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def text(body: str, *, status: int = 200) -> web.Response:
    """Plain text that no browser takes for anything else, and nobody keeps."""
    return web.Response(
        text=body, status=status, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    )


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
        hosts = [_authority(text) for text in headers.getall("Host", [""])]
        if len(hosts) != 1 or not is_ours(hosts[0][0]):
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
        if (reason := refusal(request)) is not None:
            return text(reason, status=403)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return text(error.reason, status=error.status)

    return check
