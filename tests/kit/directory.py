"""Doubles for the users' side of a router: a table of agents, a gate, and a protocol for other requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from pagent.access.gate import AccessGate
from pagent.access.operations import APPS
from pagent.config.router import RouterApps, RouterControl, SpoolSettings
from pagent.errors import RequestRefusedError
from pagent.front.apps import AppRoutes
from pagent.front.context import Site
from pagent.front.server import FrontServer
from pagent.front.spools import FrontSpools
from pagent.http1.incoming import IncomingHead
from pagent.net.accept.listening import listen
from pagent.rpc.connection import Connection
from pagent.rpc.directory import AgentLink, Client, JobAddress, JobFacts, Subject


@dataclass
class KnownAgent:
    """One link, and whether its peer knows ``raw=True``."""

    connection: Connection
    is_ours: bool = True
    uid: str = "agent"


class KnownJobs:
    """A directory of one link: all jobs are there, unless ``error`` says otherwise."""

    def __init__(self, link: KnownAgent | None = None) -> None:
        self.link = link
        self.error: RequestRefusedError | None = None
        self.asked: list[JobAddress] = []
        self.states: dict[str, str] = {}
        self.known: dict[str, JobFacts] = {}
        self.found: asyncio.Future[KnownAgent] = asyncio.get_running_loop().create_future()
        self.waiting = asyncio.Event()

    def find(self, job: JobAddress) -> AgentLink:
        self.asked.append(job)
        if self.error is not None:
            raise self.error
        assert self.link is not None
        return self.link

    def state_of(self, job: JobAddress) -> str | None:
        return self.states.get(job.job_uid)

    async def wait_for(self, job: JobAddress) -> AgentLink:
        """Wait until the test settles ``found``."""
        self.waiting.set()
        return await asyncio.shield(self.found)

    def facts(self, job_uid: str) -> JobFacts | None:
        return self.known.get(job_uid)


class OpenGate(AccessGate):
    """Lets all pass, unless ``error`` says otherwise."""

    def __init__(self) -> None:
        super().__init__(loopback=True, allowed_hosts=(), beyond=True)
        self.error: RequestRefusedError | None = None
        self.judged: list[tuple[str, JobAddress | None, IncomingHead, Client]] = []

    def judge(self, operation: str, job: JobAddress | None, head: IncomingHead, client: Client) -> Subject:
        self.judged.append((operation, job, head, client))
        if self.error is not None:
            raise self.error
        return Subject(None)


class Elsewhere(asyncio.Protocol):
    """A protocol for other requests: answers with the received bytes, once they end in ``END``."""

    END = b"!"

    def __init__(self, head: IncomingHead, client: Client) -> None:
        self.head = head
        self.client = client
        self.received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(self.END) and self._transport is not None:
            self._transport.write(b"elsewhere: " + self.received)
            self._transport.close()


class Front:
    """A running users' side. ``port`` is where it listens; ``elsewhere`` are the protocols that took over."""

    def __init__(self, jobs: KnownJobs, settings: RouterControl, spool: SpoolSettings) -> None:
        self.jobs = jobs
        self.gate = OpenGate()
        self.elsewhere: list[Elsewhere] = []
        self.server = FrontServer(jobs, self.gate, self._take, settings, FrontSpools(spool))
        self.port = self.apps_port = 0
        self.routes: AppRoutes | None = None

    def site(self, apps: RouterApps) -> Site:
        self.routes = AppRoutes(apps)
        return Site(self.routes.route, APPS, self.gate, self._take, apps.proxy_protocol)

    def _take(self, head: IncomingHead, client: Client) -> asyncio.Protocol:
        self.elsewhere.append(Elsewhere(head, client))
        return self.elsewhere[-1]


@asynccontextmanager
async def running_front(
    jobs: KnownJobs,
    *,
    tls: Any = None,
    spool: SpoolSettings | None = None,
    apps: RouterApps | None = None,
    **settings: Any,
) -> AsyncIterator[Front]:
    """A users' side on the loopback, with a listener for ``apps``; all its connections are gone after the block."""
    front = Front(jobs, RouterControl(**settings), spool or SpoolSettings())
    sockets = listen("127.0.0.1", 0)
    await front.server.listen(sockets, tls=tls)
    front.port = sockets[0].getsockname()[1]
    if apps is not None:
        sockets = listen("127.0.0.1", 0)
        await front.server.listen(sockets, tls=tls, site=front.site(apps))
        front.apps_port = sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        await front.server.close()
