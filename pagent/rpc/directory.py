"""The interfaces between a router's users and its other parts: the agent of a job, and the check of a request.

The router's composition root makes the objects; :mod:`pagent.front` and :mod:`pagent.web` get them as these protocols.
``tests/kit/directory.py`` has the doubles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, Protocol

from pagent.http1.incoming import IncomingHead
from pagent.rpc.connection import Connection


class Client(NamedTuple):
    """The client of one connection, as the socket or a trusted PROXY protocol header identifies it.

    ``address`` is its IP address, ``port`` its port. ``trusted``: the peer of the socket is in
    ``control.trusted_proxies``, so its forwarded fields are believed. ``secure``: the connection came over TLS.
    ``local_port``: the port that it came to.
    """

    address: str
    port: int
    trusted: bool
    secure: bool
    local_port: int


#: In the place of a connection id: the job is found by its uid.
ANY_CONNECTION: Final = "-"


class JobAddress:
    """A job as a request names it. ``connection_id``: 32 hex digits, or ``-`` for any agent that has the job.

    A class and no ``NamedTuple``: compiled, each request makes one in a fifth of the time.
    """

    __slots__ = ("connection_id", "job_uid")

    def __init__(self, connection_id: str, job_uid: str) -> None:
        self.connection_id = connection_id
        self.job_uid = job_uid

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JobAddress):
            return NotImplemented
        return self.connection_id == other.connection_id and self.job_uid == other.job_uid

    def __hash__(self) -> int:
        return hash((self.connection_id, self.job_uid))

    def __repr__(self) -> str:
        return f"JobAddress({self.connection_id!r}, {self.job_uid!r})"


class JobFacts(NamedTuple):
    """The facts of a job that checks need. ``labels`` are empty for a job without labels."""

    uid: str
    agent_uid: str
    labels: Mapping[str, str]


class Subject(NamedTuple):
    """On whose behalf a request is made; ``name`` is None in an open router.

    ``scopes``: as they stand in the configuration. ``credential`` identifies the token that was presented, without
    being one: a newer token of the same name has another.
    """

    name: str | None
    scopes: tuple[str, ...] = ()
    credential: str = ""


class Rights(NamedTuple):
    """The limits of a subject: its quota, None for any number, and the end of its token in epoch seconds."""

    jobs: int | None = None
    jobs_per_minute: int | None = None
    streams: int | None = None
    expires: float | None = None


class Creator(NamedTuple):
    """The subject that has created a ticket. ``is_user``: it is a user that a proxy names, not a token."""

    name: str
    is_user: bool


class Lease(Protocol):
    """One open request, upgrade, link or stream of a subject of a closed router."""

    def release(self) -> None:
        """Note its end. A second call does nothing."""


class AgentLink(Protocol):
    """One link to an agent."""

    @property
    def uid(self) -> str:
        """The agent's uid."""

    @property
    def connection(self) -> Connection:
        """Where calls to the agent are started."""

    @property
    def is_ours(self) -> bool:
        """Whether the agent understands ``http_request(raw=True, upgrade=True)``."""


class Directory(Protocol):
    """The table of agents and their jobs."""

    def find(self, job: JobAddress) -> AgentLink:
        """Return the link to send the job's traffic to, at once.

        RequestRefusedError says that there is none, and how to answer; NotYetError (a subclass): there may be one
        within seconds, so wait with :meth:`wait_for`. LinkClosedError of a call on the link just returned means the
        same.
        """

    def state_of(self, job: JobAddress) -> str | None:
        """Return the state of a job as it was last known; ``UNREACHABLE``: its agent has no link now. None: unknown."""

    async def wait_for(self, job: JobAddress) -> AgentLink:
        """Return the link as soon as there is one and the job is ready.

        It waits at most ROUTE_LINK_WAIT_S for the link of an agent that is away, ROUTE_PENDING_WAIT_S for a job in
        PENDING. RequestRefusedError after that: 503 with ``retry_after_s``.
        """


class RequestGate(Protocol):
    """The check of the requests of one listener."""

    def judge(self, operation: str, job: JobAddress | None, head: IncomingHead, client: Client) -> Subject:
        """Return on whose behalf the request is made; RequestRefusedError (401, 403, 404) if it may not pass.

        It is called when the head is read, before the request is handled. NotYetError: the job is not known yet, and
        so neither is whether the subject may use it. Look for the job, and ask again.

        ``operation`` is one of :mod:`pagent.access.operations`.
        """

    def check_beyond(self) -> None:
        """Check whether interfaces that the original router does not have are served. RequestRefusedError 403."""

    def conceal(self, head: IncomingHead, operation: str) -> None:
        """Remove the fields of a request that are for the router alone, before it goes to a job."""

    def lease(self, subject: Subject, close: Callable[[], object], *, stream: bool) -> Lease | None:
        """Register a request, upgrade, link or stream; ``close`` ends it when its token is revoked or expires.

        None in an open router. ``stream``: whether it counts against the quota of streams. RequestRefusedError 429.
        """


class Gate(RequestGate, Protocol):
    """The check of every request and of every call of a client."""

    @property
    def is_closed(self) -> bool:
        """Whether requests need a token or a user."""

    def subject_of(self, secret: str) -> Subject:
        """Return the subject of the token in the handshake of a client's link. RequestRefusedError 401."""

    def permit(self, subject: Subject, operation: str, job: JobAddress | JobFacts | None) -> None:
        """Check an operation of a subject that is known, as :meth:`judge` does."""

    def sees(self, subject: Subject, job: JobFacts) -> bool:
        """Return whether a subject may read a job: for lists."""

    def rights(self, subject: Subject) -> Rights:
        """Return the limits of a subject."""

    def may_open(self, creator: Creator | None, job: JobFacts) -> bool:
        """Return whether the creator of a ticket may still open the job to others."""

    def creation(self, subject: Subject, labels: Mapping[str, str] | None) -> AbstractContextManager[dict[str, str]]:
        """Return a block that creates a job, which gets the labels that the block yields.

        RequestRefusedError 429 when it is entered: a quota is used up.
        """
