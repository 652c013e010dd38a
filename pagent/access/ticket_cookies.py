"""The cookie of a ticket: its name and attributes by scheme and place (docs/access.rst, "Tickets")."""

from __future__ import annotations

from typing import Final

from pagent.http1.incoming import IncomingHead
from pagent.http1.job_names import JobPlace
from pagent.rpc.directory import Client

_NAME: Final = "pagent-ticket"
_PROTO: Final = "x-forwarded-proto"


def is_secure(head: IncomingHead, client: Client, configured: bool | None) -> bool:
    """Return whether a browser has made a request over https.

    ``configured``: as the configuration says; otherwise it is the connection, or what a trusted proxy says.
    """
    if configured is not None:
        return configured
    if client.trusted:
        given = [value for name, value in head.forwarded if name.lower().replace("_", "-") == _PROTO]
        if given:
            return given[0].lower() == "https"
    return client.secure


def cookie_name(place: JobPlace, *, secure: bool) -> str:
    """Return the name of the cookie. Browsers take ``__Host-`` for a whole host only, and both prefixes over https."""
    if not secure:
        return _NAME
    return f"__Host-{_NAME}" if place.path == "/" else f"__Secure-{_NAME}"


def set_cookie(place: JobPlace, value: str, seconds: int, *, secure: bool, embed: bool) -> str:
    """Return the value of Set-Cookie. ``embed``: the cookie is for frames of other sites, one for each of them."""
    name = cookie_name(place, secure=secure)
    common = f"{name}={value}; Path={place.path}; Max-Age={seconds}; HttpOnly"
    if embed:
        return f"{common}; SameSite=None; Secure; Partitioned"
    return f"{common}; SameSite=Lax{'; Secure' if secure else ''}"


def values_of(cookies: list[str], name: str) -> list[str]:
    """Return the values of all cookies of a name."""
    return [value for each, _, value in (cookie.partition("=") for cookie in cookies) if each.strip(" \t") == name]
