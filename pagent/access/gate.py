"""Decide whether a router accepts a request: HTTP requests, upgrades and links of clients alike.

The router is open: every client that reaches a listener may use the interface of the original router. Interfaces beyond
that are served on listeners of the loopback only, unless ``access.open`` is set.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pagent.access.hosts import authority, foreign, is_loopback_name
from pagent.errors import RequestRefusedError
from pagent.http1.incoming import IncomingHead
from pagent.rpc.directory import Client, JobAddress, Subject

#: Operations that a request can need; those of the API have the names of scopes.
PROBE: Final = "probe"  # /livez, /readyz: of load balancers, which name no host
PROXY: Final = "proxy"  # job traffic: it belongs to the job, whatever page it comes from
APPS: Final = "apps"  # the same on the listener of the jobs' own names, which the original router does not have
WSCONNECT: Final = "wsconnect"  # the same from the API, so not from any page
NONE: Final = "none"
READ: Final = "read"
JOBS: Final = "jobs"
FILES: Final = "files"
ADMIN: Final = "admin"
RPC: Final = "rpc"  # links of clients, which the original router does not accept

_UNNAMED: Final = Subject(None)
_FORBIDDEN: Final = 403


class AccessGate:
    """The gate of one listener.

    :param loopback: whether it listens on the loopback only: then a browser may be misled to it, and Host is checked.
    :param allowed_hosts: host names, beside those of the loopback, that callers may use for it.
    :param beyond: whether interfaces that the original router does not have are served to all clients.
    """

    def __init__(self, *, loopback: bool, allowed_hosts: Collection[str], beyond: bool) -> None:
        self._loopback = loopback
        self._allowed = {host.lower() for host in allowed_hosts}
        self._beyond = loopback or beyond

    def judge(self, operation: str, job: JobAddress | None, head: IncomingHead, client: Client) -> Subject:
        """Return on whose behalf a request is made. RequestRefusedError if it may not pass."""
        if operation in (PROXY, PROBE):
            return _UNNAMED
        if operation == APPS:
            self._check_beyond()
            return _UNNAMED
        if (reason := self._foreign(head)) is not None:
            raise RequestRefusedError(_FORBIDDEN, reason)
        if operation == RPC:
            self._check_beyond()
        return _UNNAMED

    def _check_beyond(self) -> None:
        if not self._beyond:
            raise RequestRefusedError(_FORBIDDEN, "this answers on the loopback only, or with access.open")

    def _foreign(self, head: IncomingHead) -> str | None:
        hosts, origins, sites = [head.host] if head.host else [], list[str](), list[str]()
        for name, value in head.fields:
            match name.lower():
                case "origin":
                    origins.append(value)
                case "sec-fetch-site":
                    sites.append(value)
        if self._loopback:
            return foreign(hosts, origins, sites, self._is_served)
        # Any name may be one of this listener; a page of the same name and port is its own.
        own, _ = authority(head.host)
        return foreign(hosts, origins, sites, lambda host: host == own)

    def _is_served(self, host: str) -> bool:
        return is_loopback_name(host) or host in self._allowed
