"""Recognise requests of foreign web pages.

A page can make a browser send requests to a listener of this machine, and by DNS rebinding even read the answers: then
``Host`` is the page's. Otherwise ``Origin`` or ``Sec-Fetch-Site`` names it. Programs send neither of the two.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Sequence
from typing import Final
from urllib.parse import urlsplit

FOREIGN_PAGE: Final = "requests of foreign pages are refused"
UNKNOWN_HOST: Final = "this host name is not served here"
NOT_OF_PROXY: Final = "a proxy names no user under this host name: control.allowed_hosts lists those that it passes on"

_HTTP: Final = 80
_HTTPS: Final = 443


def is_loopback_name(host: str) -> bool:
    """Return whether a host name or address, without its port, can only mean this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_loopback_interface(interface: str | None) -> bool:
    """Return whether a listener on this address is reached from this machine only; None: all addresses."""
    return bool(interface) and is_loopback_name(interface or "")


def authority(text: str) -> tuple[str, int | None]:
    """Return host and port of an authority; an empty host if it is none."""
    try:
        parts = urlsplit(f"//{text}")
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None


def origin(text: str) -> tuple[str, int | None]:
    """Return host and port of an Origin. The host is empty for ``null`` and schemes other than http and https."""
    scheme, separator, rest = text.partition("://")
    return authority(rest) if separator and scheme in ("http", "https") else ("", None)


def foreign(
    hosts: Sequence[str], origins: Sequence[str], sites: Sequence[str], is_served: Callable[[str], bool]
) -> str | None:
    """Return why a request is refused, by the values of its fields Host, Origin and Sec-Fetch-Site; None if it is not.

    ``is_served``: whether a host name, in lower case and without a port, is one of this listener.
    """
    if not hosts:
        # Only an HTTP/1.0 client may leave it out, and no browser does.
        return FOREIGN_PAGE if origins or sites else None
    host, port = authority(hosts[0])
    if not is_served(host):
        return UNKNOWN_HOST
    # Another port is another page's, of a job for example.
    if any(not is_served(name) or other != port for name, other in map(origin, origins)):
        return FOREIGN_PAGE
    return FOREIGN_PAGE if set(sites) - {"none", "same-origin"} else None


class ProxyHosts:
    """The host names under which a proxy passes on requests, with the user that it names.

    A browser on the proxy's machine can be misled to dial the router itself, by DNS rebinding, and its page then names
    any user. The page can set neither ``Host``, which has its own name, nor the port in it, which was dialled.

    :param allowed: names that proxies use; if there are none, each name that a browser cannot have dialled here.
    :param domain: names below it are of jobs, and of no page of another site.
    """

    def __init__(self, allowed: Collection[str] = (), domain: str = "") -> None:
        self._allowed = {name.lower().rstrip(".") for name in allowed}
        self._below = f".{domain.lower().rstrip('.')}" if domain else None

    def admit(self, text: str, local_port: int, *, secure: bool, is_traffic_of_names: bool) -> bool:
        """Return whether the user of a request counts.

        :param text: the Host of the request.
        :param local_port: the port that it came to, with TLS if ``secure``.
        :param is_traffic_of_names: whether the listener is the one whose names are those of jobs.
        """
        host, port = authority(text)
        name = host.rstrip(".")
        if is_loopback_name(name) or _is_address(name) or name in self._allowed:
            return True
        if is_traffic_of_names and self._below is not None and name.endswith(self._below):
            return True
        if self._allowed and not is_traffic_of_names:
            return False
        return (port or (_HTTPS if secure else _HTTP)) != local_port


def _is_address(name: str) -> bool:
    """Return whether a host is an IP address, which DNS rebinding cannot change."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
