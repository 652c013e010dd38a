"""Decide whether a closed router accepts a request or a call (docs/access.rst).

The caller is identified by a token or, from a trusted proxy, by the field with the user's name. The operation is then
judged on the job or the agent that is used. A job that a caller may not see is answered as one that does not exist.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

from pagent.access.gate import foreign_page, without_own_labels
from pagent.access.hosts import NOT_OF_PROXY, UNKNOWN_HOST, ProxyHosts, authority
from pagent.access.leases import OpenLease, SubjectLeases
from pagent.access.operations import ADMIN, APPS, EXEC, NONE, PAGE, PROBE, PROXY, READ, RPC, SCOPE_OF
from pagent.access.scopes import OWNER, grants_of
from pagent.access.subprotocol import presented_tokens
from pagent.access.tokens import AccessTable, dashed
from pagent.errors import AccessDeniedError, NotYetError, RequestRefusedError
from pagent.http1.incoming import IncomingHead
from pagent.rpc.directory import Client, Creator, JobAddress, JobFacts, Rights, Subject

_UNNAMED: Final = Subject(None)
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403

#: Operations of requests whose Authorization is the job's.
_TRAFFIC: Final = (PROXY, APPS)
_TOKEN_FIELD: Final = "x-pagent-token"
_AUTHORIZATION: Final = "authorization"
_SCHEME: Final = "bearer"

#: The longest time until tokens are looked at for their end: the clock of the host may be set.
_EXPIRY_S: Final = 60.0


class KnownJobs(Protocol):
    """The jobs of the router, as far as they are known."""

    def facts_at(self, job: JobAddress) -> JobFacts | None:
        """Return the facts of the job that a request to this address uses, at once; None if it is not known."""

    def not_found(self, job: JobAddress) -> RequestRefusedError:
        """Return the error for a job that no agent has."""

    def owned(self, name: str) -> int:
        """Return how many jobs have this owner."""


class ClosedGate:
    """The gate of all listeners of a closed router.

    :param table: the tokens and the header in force.
    :param is_served: whether a host name is one of the listener; None: any may be.
    :param proxy_hosts: under which host names the user counts that a proxy names.
    :param refusal: why all requests are refused; empty if they are served.
    """

    is_closed: Final = True

    def __init__(
        self,
        jobs: KnownJobs,
        table: AccessTable,
        *,
        is_served: Callable[[str], bool] | None = None,
        proxy_hosts: ProxyHosts | None = None,
        refusal: str = "",
    ) -> None:
        self._jobs = jobs
        self._is_served = is_served
        self._proxy_hosts = proxy_hosts or ProxyHosts()
        self._refusal = refusal
        self._table = table
        self._leases: dict[str, SubjectLeases] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._watch_expiry()

    # --- requests ---------------------------------------------------------------------------------

    def judge(self, operation: str, job: JobAddress | None, head: IncomingHead, client: Client) -> Subject:
        """Return on whose behalf a request is made. RequestRefusedError if it may not pass."""
        if operation == PROBE:
            return _UNNAMED
        if operation == PAGE:
            # A link on a page of another origin may lead here.
            self.check_beyond()
            self._check_host(head)
            return _UNNAMED
        # A proxy may let a browser in by its cookies, which come with requests of foreign pages, too.
        # A page that presents a token of its own is no such page.
        has_token = operation == EXEC and bool(presented_tokens(head))
        if operation not in _TRAFFIC and not has_token and (reason := foreign_page(head, self._is_served)) is not None:
            raise RequestRefusedError(_FORBIDDEN, reason)
        if operation == NONE:
            return _UNNAMED
        subject = self._identified(operation, head, client)
        if subject is _UNNAMED:
            return subject
        try:
            self.permit(subject, operation, job)
        except RequestRefusedError as error:
            error.subject = subject.name
            if subject is self._table.anonymous and error.status == _FORBIDDEN:
                raise _needs_token(operation) from None
            raise
        return subject

    def _check_host(self, head: IncomingHead) -> None:
        if self._is_served is not None and head.host and not self._is_served(authority(head.host)[0]):
            raise RequestRefusedError(_FORBIDDEN, UNKNOWN_HOST)

    def _identified(self, operation: str, head: IncomingHead, client: Client) -> Subject:
        """Return the subject that a request names: by a token, otherwise by the field of a trusted proxy."""
        secret = _token_for_job(head) if operation in _TRAFFIC else _bearer_token(head)
        if operation == EXEC:
            secret = _only([*filter(None, (secret,)), *presented_tokens(head)])
        if secret:
            return self.subject_of(secret)
        if name := self._user(head, client):
            if (user := self._table.user(name)) is None:
                raise AccessDeniedError(_UNAUTHORIZED, "the user that the proxy names is not a valid name")
            self._check_proxy(operation, head, client)
            return user
        if operation == RPC:
            return _UNNAMED  # the token comes with the handshake of the link
        if self._table.anonymous is not None and operation not in _TRAFFIC:
            return self._table.anonymous
        raise _needs_token(operation)

    def _check_proxy(self, operation: str, head: IncomingHead, client: Client) -> None:
        """Check that a request with the field of the user is not one of a browser that reaches the router itself."""
        # Only an HTTP/1.0 client may leave Host out, and no browser does.
        is_apps = operation == APPS
        if head.host and not self._proxy_hosts.admit(
            head.host, client.local_port, secure=client.secure, is_traffic_of_names=is_apps
        ):
            raise RequestRefusedError(_FORBIDDEN, NOT_OF_PROXY)

    def _user(self, head: IncomingHead, client: Client) -> str:
        if not self._table.header or not client.trusted:
            return ""
        return _only(head.values(self._table.header))

    def subject_of(self, secret: str) -> Subject:
        """Return the subject of a token. RequestRefusedError 401 if it is not valid."""
        if (subject := self._table.subject_of(secret)) is None:
            raise AccessDeniedError(_UNAUTHORIZED, "the token is not valid, or it has expired")
        return subject

    def conceal(self, head: IncomingHead, operation: str) -> None:
        """Remove the field of the user, in every spelling, and the token where it is in Authorization."""
        if self._table.header:
            head.remove(dashed(self._table.header))
        if operation not in _TRAFFIC:
            head.remove(_AUTHORIZATION)

    # --- operations -------------------------------------------------------------------------------

    def permit(self, subject: Subject, operation: str, job: JobAddress | JobFacts | None) -> None:
        """Check an operation of a subject.

        RequestRefusedError: AccessDeniedError 403 without the scope, 404 for a job that it may not see. NotYetError:
        look for the job, and ask again; it has the text of the answer if there is none.
        """
        # A KeyError here is a fault of this package: an operation without a scope.
        scope = SCOPE_OF[operation]
        if scope is None:
            return
        name, grants = subject.name or "", grants_of(subject.scopes)
        if job is None:
            if grants.is_unlimited(scope) or (scope != ADMIN and grants.has(scope)):
                return
            raise _lacks(scope)
        if grants.is_unlimited(scope):
            return
        facts = self._jobs.facts_at(job) if isinstance(job, JobAddress) else job
        if facts is None:
            assert isinstance(job, JobAddress)
            absent = self._jobs.not_found(job)
            raise NotYetError(absent.status, str(absent), retry_after_s=absent.retry_after_s)
        if grants.covers(scope, name, facts):
            return
        if grants.sees(name, facts):
            raise _lacks(scope)
        raise self._jobs.not_found(job if isinstance(job, JobAddress) else JobAddress("-", job.uid))

    def rights(self, subject: Subject) -> Rights:
        """Return the rights of a subject."""
        return self._table.rights_of(subject)

    def may_open(self, creator: Creator | None, job: JobFacts) -> bool:
        """Return whether the token or user still exists, and has the scope for a job."""
        if creator is None:
            return False
        subject = self._table.user(creator.name) if creator.is_user else self._table.named(creator.name)
        return subject is not None and grants_of(subject.scopes).covers(PROXY, creator.name, job)

    def check_beyond(self) -> None:
        """Raise RequestRefusedError 403 if all requests are refused."""
        if self._refusal:
            raise RequestRefusedError(_FORBIDDEN, self._refusal)

    def sees(self, subject: Subject, job: JobFacts) -> bool:
        """Return whether a subject may read a job."""
        return grants_of(subject.scopes).covers(READ, subject.name or "", job)

    @contextmanager
    def creation(self, subject: Subject, labels: Mapping[str, str] | None) -> Iterator[dict[str, str]]:
        """Count a new job of a subject, and yield its labels with those of its owner. QuotaExceededError."""
        name, quota = subject.name or "", self._table.quota_of(subject)
        leases = self._leases_of(name)
        leases.check_creation(name, self._jobs.owned(name) if quota.jobs is not None else 0, quota)
        if quota.jobs_per_minute is not None:
            leases.note_creation()
        leases.creating += 1
        try:
            yield {**without_own_labels(labels), OWNER: name}
        finally:
            leases.creating -= 1

    # --- leases and quotas ------------------------------------------------------------------------

    def lease(self, subject: Subject, close: Callable[[], object], *, stream: bool) -> OpenLease | None:
        """Register a link or stream of a subject; None for a request without a token. QuotaExceededError."""
        if subject.name is None:
            return None
        return self._leases_of(subject.name).open(subject, close, self._table.quota_of(subject), stream=stream)

    def _leases_of(self, name: str) -> SubjectLeases:
        leases = self._leases.get(name)
        if leases is None:
            for unused in [each for each, known in self._leases.items() if known.is_unused]:
                del self._leases[unused]
            leases = self._leases[name] = SubjectLeases()
        return leases

    def renew(self, table: AccessTable) -> int:
        """Take over other tokens; close what those have open that are gone, and return how many things these are."""
        self._table = table
        self._watch_expiry()
        return sum([leases.end(table.is_current) for leases in list(self._leases.values())])

    def _watch_expiry(self) -> None:
        """Call :meth:`renew` when the next token expires."""
        self.close()
        if (next_end := min(self._table.expiries(), default=None)) is not None:
            delay = min(max(next_end - time.time(), 0.0), _EXPIRY_S)
            self._timer = asyncio.get_running_loop().call_later(delay, lambda: self.renew(self._table))

    def close(self) -> None:
        """Look at no more tokens for their end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _token_for_job(head: IncomingHead) -> str:
    return _only([value for name, value in head.own if name.lower() == _TOKEN_FIELD])


def _bearer_token(head: IncomingHead) -> str:
    """Return the token in Authorization. A field of another scheme is no token: a proxy may have asked for a login."""
    value = _only(head.values(_AUTHORIZATION))
    scheme, _, token = value.partition(" ")
    return token.strip(" ") if scheme.lower() == _SCHEME else ""


def _only(values: list[str]) -> str:
    """Return the value of a field; empty without one. Two readers of a request could choose different ones of two."""
    if len(values) > 1:
        raise AccessDeniedError(_UNAUTHORIZED, "the request has a field twice that names its token or user")
    return values[0] if values else ""


def _needs_token(operation: str) -> AccessDeniedError:
    field = "X-Pagent-Token" if operation in _TRAFFIC else "Authorization: Bearer"
    return AccessDeniedError(_UNAUTHORIZED, f"this router needs a token: {field}")


def _lacks(scope: str) -> AccessDeniedError:
    return AccessDeniedError(_FORBIDDEN, f"the token has no scope {scope!r} for this")
