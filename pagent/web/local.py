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


def _host_of(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def local_only(allowed_hosts: Collection[str]) -> Middleware:
    """Middleware that refuses what comes from a foreign web page.

    A page can make a browser send requests here, and by DNS rebinding even read the answers: then ``Host`` is the
    page's, and otherwise ``Origin`` or ``Sec-Fetch-Site`` tell. Programs send neither of the two.
    """
    allowed = {host.lower() for host in allowed_hosts}

    def is_ours(host: str) -> bool:
        return is_loopback_name(host) or host in allowed

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_ours(_host_of(request.headers.get("Host", ""))):
            return text("this host name is not served here", status=403)
        origin = request.headers.get("Origin")
        if origin is not None and not is_ours(urlsplit(origin).hostname or ""):
            return text("requests of foreign pages are refused", status=403)
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return text("requests of foreign pages are refused", status=403)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return text(error.reason, status=error.status)

    return check
