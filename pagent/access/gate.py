"""Decide whether an open router accepts a request: HTTP requests, upgrades and links of clients alike.

Every client that reaches a listener may use the interface of the original router. Interfaces beyond that are served on
listeners of the loopback only, unless ``access.open`` is set. :mod:`pagent.access.closed` has the gate of a closed
router.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from pagent.access.hosts import authority, foreign, is_loopback_name
from pagent.access.operations import APPS, METRICS, PROBE, PROXY, RPC
from pagent.access.scopes import OWN_LABELS
from pagent.errors import RequestRefusedError
from pagent.http1.incoming import IncomingHead
from pagent.rpc.directory import Client, Creator, JobAddress, JobFacts, Lease, Rights, Subject

_UNNAMED: Final = Subject(None)
_FORBIDDEN: Final = 403

#: The keys of the configuration that close a router.
CLOSING_KEYS: Final = "access.tokens, access.tokens_file or access.header"
#: Why a listener that is not of the loopback does not serve a request.
BEYOND: Final = f"this answers on the loopback only, unless {CLOSING_KEYS} closes the router, or access.open is true"


class AccessGate:
    """The gate of one listener of an open router.

    :param loopback: whether it listens on the loopback only: then a browser may be misled to it, and Host is checked.
    :param allowed_hosts: host names, beside those of the loopback, that callers may use for it.
    :param beyond: whether interfaces that the original router does not have are served to all clients.
    """

    is_closed: Final = False

    def __init__(self, *, loopback: bool, allowed_hosts: Collection[str], beyond: bool) -> None:
        self._loopback = loopback
        self._allowed = {host.lower() for host in allowed_hosts}
        self._beyond = loopback or beyond

    def judge(self, operation: str, job: JobAddress | None, head: IncomingHead, client: Client) -> Subject:
        """Return on whose behalf a request is made. RequestRefusedError if it may not pass."""
        if operation in (PROXY, PROBE, METRICS):
            return _UNNAMED
        if operation == APPS:
            self.check_beyond()
            return _UNNAMED
        reason = foreign_page(head, self._is_served if self._loopback else None)
        if reason is not None:
            raise RequestRefusedError(_FORBIDDEN, reason)
        if operation == RPC:
            self.check_beyond()
        return _UNNAMED

    def check_beyond(self) -> None:
        """Check whether interfaces that the original router does not have are served. RequestRefusedError 403."""
        if not self._beyond:
            raise RequestRefusedError(_FORBIDDEN, BEYOND)

    def subject_of(self, secret: str) -> Subject:
        """Return the subject of all clients; their tokens are not checked."""
        return _UNNAMED

    def permit(self, subject: Subject, operation: str, job: JobAddress | JobFacts | None) -> None:
        """Permit everything."""

    def sees(self, subject: Subject, job: JobFacts) -> bool:
        """Return that every job may be read."""
        return True

    def rights(self, subject: Subject) -> Rights:
        """Return the rights of a caller without limits."""
        return Rights()

    def may_open(self, creator: Creator | None, job: JobFacts) -> bool:
        """Return that every caller may open every job."""
        return True

    def conceal(self, head: IncomingHead, operation: str) -> None:
        """Leave the fields as they are: none of them is for the router."""

    def lease(self, subject: Subject, close: Callable[[], object], *, stream: bool) -> Lease | None:
        """Return None: an open router neither revokes nor counts."""
        return None

    @contextmanager
    def creation(self, subject: Subject, labels: Mapping[str, str] | None) -> Iterator[dict[str, str]]:
        """Yield the labels of a new job, without those that are the router's own to set."""
        yield without_own_labels(labels)

    def _is_served(self, host: str) -> bool:
        return is_loopback_name(host) or host in self._allowed


def foreign_page(head: IncomingHead, is_served: Callable[[str], bool] | None) -> str | None:
    """Return why a request is refused as one of a foreign page; None if it is not.

    ``is_served``: whether a host name is one of this listener. None: any name may be, and a page of the same name and
    port is its own.
    """
    hosts, origins, sites = [head.host] if head.host else [], head.values("origin"), head.values("sec-fetch-site")
    if is_served is not None:
        return foreign(hosts, origins, sites, is_served)
    own, _ = authority(head.host)
    return foreign(hosts, origins, sites, lambda host: host == own)


def without_own_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return the labels that a caller may give to a job: those of the router are not its to set."""
    return {name: value for name, value in (labels or {}).items() if not name.startswith(OWN_LABELS)}
