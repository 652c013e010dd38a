"""An application whose gate lets nothing pass, and routes that no request may reach."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any

from aiohttp import web

from pagent.access.tickets import Tickets
from pagent.config.router import RouterControl, SpoolSettings
from pagent.errors import RequestRefusedError
from pagent.front.server import FrontServer
from pagent.front.spools import FrontSpools
from pagent.http1.incoming import IncomingHead
from pagent.net.accept.listening import listen
from pagent.rpc.directory import AgentLink, Client, JobAddress, Subject
from pagent.rpc.new_job import NewJob
from pagent.runtime.metrics import Metric, Values
from pagent.web.handover import RouterWeb
from pagent.web.routes import KnownChange, KnownJob, RoutedAgent, RoutedJob
from tests.kit.directory import OpenGate


class Untouched:
    """Routes and a directory of which nothing may be asked."""

    def agents(self) -> Iterable[RoutedAgent]:
        raise AssertionError("reached")

    async def create(
        self, choice: Mapping[str, Any], name: str, subject: Subject
    ) -> tuple[RoutedAgent, dict[str, Any]]:
        raise AssertionError("reached")

    def new_job(self, wanted: NewJob, subject: Subject) -> AbstractAsyncContextManager[RoutedJob]:
        raise AssertionError("reached")

    async def locate(self, job: JobAddress) -> RoutedAgent:
        raise AssertionError("reached")

    def subscribe(self, subscriber: Callable[[KnownChange], None]) -> Callable[[], None]:
        return lambda: None

    @property
    def tickets(self) -> Tickets:
        raise AssertionError("reached")

    def starting(self, job_uid: str) -> AbstractContextManager[None]:
        raise AssertionError("reached")

    def noted(self, connection_id: str, info: Mapping[str, Any]) -> None:
        raise AssertionError("reached")

    def answered(self, connection_id: str, info: Any) -> KnownJob:
        raise AssertionError("reached")

    async def until_ended(self, job_uid: str) -> None:
        raise AssertionError("reached")

    def removed(self, job_uid: str) -> None:
        raise AssertionError("reached")

    async def may_dial(self, host: str, port: int) -> list[str]:
        raise AssertionError("reached")

    @property
    def is_ready(self) -> bool:
        raise AssertionError("reached")

    def info(self) -> Mapping[str, Any]:
        raise AssertionError("reached")

    async def cordon(self, agent_uid: str, on: bool) -> bool:
        raise AssertionError("reached")

    def jobs(self, after: tuple[float, str] | None) -> Iterator[KnownJob]:
        raise AssertionError("reached")

    async def ended_jobs(self) -> Sequence[KnownJob]:
        raise AssertionError("reached")

    def job(self, job_uid: str) -> KnownJob | None:
        raise AssertionError("reached")

    def is_away(self, job_uid: str) -> bool:
        raise AssertionError("reached")

    def job_count(self, agent_uid: str) -> int:
        raise AssertionError("reached")

    def metrics(self) -> Mapping[Metric, Values]:
        raise AssertionError("reached")

    def end(self) -> None:
        raise AssertionError("reached")

    def find(self, job: JobAddress) -> AgentLink:
        raise AssertionError("reached")

    def state_of(self, job: JobAddress) -> str | None:
        raise AssertionError("reached")

    async def wait_for(self, job: JobAddress) -> AgentLink:
        raise AssertionError("reached")


class Shut(OpenGate):
    """A gate that lets nothing pass, and notes what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, JobAddress | None]] = []

    def judge(self, operation: str, job: JobAddress | None, head: IncomingHead, client: Client) -> Subject:
        self.asked.append((operation, job))
        raise RequestRefusedError(403, "closed")


@asynccontextmanager
async def listener_of(gate: Shut, routes: Untouched, app: web.Application) -> AsyncIterator[int]:
    """Yield the port of a listener whose requests pass the gate."""
    site = RouterWeb(app, body_s=60.0)
    await site.start()
    front = FrontServer(routes, gate, site.protocol, RouterControl(), FrontSpools(SpoolSettings()))
    (sock,) = listen("127.0.0.1", 0)
    await front.listen([sock])
    try:
        yield int(sock.getsockname()[1])
    finally:
        await front.close()
        await site.close()
