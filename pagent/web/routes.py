"""The interface that the HTTP API of a router needs: its agents and their jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from pagent.access.tickets import Tickets
from pagent.rpc.aio import StreamCall
from pagent.rpc.directory import JobAddress, Subject
from pagent.rpc.new_job import NewJob
from pagent.rpc.pool_job import PoolView
from pagent.runtime.metrics import Metric, Values


class RoutedAgent(Protocol):
    """One link to an agent."""

    @property
    def uid(self) -> str:
        """The agent's own uid."""

    @property
    def connection_id(self) -> str:
        """The id of the link, as it stands in paths."""

    @property
    def mode(self) -> str:
        """The router's role on the link: SERVER or CLIENT."""

    @property
    def name(self) -> str:
        """The agent's name."""

    def figures(self) -> dict[str, Any]:
        """Return the figures of its host as they were last sent; None for those that are not known."""

    @property
    def data(self) -> Mapping[str, Any]:
        """The agent's handshake data as JSON values, without secrets."""

    @property
    def is_ours(self) -> bool:
        """Whether it has the arguments beyond the contract of the field."""

    @property
    def holes(self) -> bool:
        """Whether the extension ``holes`` is in force, so that a download has to say that it takes none."""

    @property
    def linger(self) -> float:
        """Seconds that its jobs outlive its last link to the router."""

    def describe(self) -> dict[str, Any]:
        """Return the description of this agent in answers about its jobs."""

    async def call(self, method: str, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Make a unary call."""

    def open_stream(self, call_type: int, method: str, /, *args: Any, **kwargs: Any) -> StreamCall:
        """Begin a call with a stream."""


class KnownJob(Protocol):
    """A job as the router knows it."""

    @property
    def uid(self) -> str:
        """The job's uid."""

    @property
    def agent_uid(self) -> str:
        """The uid of its agent."""

    @property
    def age(self) -> tuple[float, str]:
        """The key that orders jobs: the time of creation in epoch seconds, and the uid."""

    @property
    def state(self) -> str:
        """The state that the agent has last sent."""

    @property
    def is_new(self) -> bool:
        """Whether it was not started."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""

    def info(self) -> dict[str, Any]:
        """Return the latest info of the agent."""

    @property
    def size(self) -> int:
        """Return the memory that it takes, in bytes, about."""

    def snapshot(self) -> KnownJob:
        """Return a copy that stays as this is now."""


class KnownChange(Protocol):
    """A change of an agent, of a job, or of an object that belongs to one of them."""

    @property
    def name(self) -> str:
        """The kind of the change, as ``job.state``."""

    @property
    def agent_uid(self) -> str:
        """The uid of the agent."""

    @property
    def link(self) -> RoutedAgent | None:
        """The link that an agent has come with or has lost."""

    @property
    def job(self) -> KnownJob | None:
        """The job, as it was last; None for a change of an agent alone."""

    @property
    def data(self) -> Mapping[str, Any] | None:
        """The object as a GET answers it, of a change that is neither of an agent nor of a job."""


class RoutedJob(Protocol):
    """A job that a request has created, or found by its key."""

    @property
    def job(self) -> KnownJob:
        """The job."""

    @property
    def agent(self) -> RoutedAgent | None:
        """Its agent; None if that is away."""

    @property
    def is_new(self) -> bool:
        """Whether the request has created it."""


class PoolTable(Protocol):
    """The pools of a router, which start agents on demand. Errors: RequestRefusedError, or those of calls and links."""

    async def cancel(self, job_uid: str) -> bool:
        """Cancel the request of a job that is not at its agent, or forget a job that got none. Return whether it is."""

    def names(self) -> list[str]:
        """Return the names of all pools."""

    def view(self, name: str) -> PoolView | None:
        """Return a pool with all its requests."""


class LiveValues(Protocol):
    """The figures of one job: CPU, memory, streams, received, sent, idle seconds. ``version``: of the last change."""

    @property
    def version(self) -> int:
        """Grows with each change of any job."""

    @property
    def values(self) -> Sequence[float | None]:
        """The numbers."""


class LiveTable(Protocol):
    """Figures that change all the time. They are kept only within :meth:`listening`."""

    def listening(self) -> AbstractContextManager[None]:
        """Return the block in which the rest may be used."""

    def sample(self) -> dict[str, Any]:
        """Return a sample of the whole router. Call it once a second."""

    @property
    def version(self) -> int:
        """The version of the latest change."""

    @property
    def rows(self) -> Mapping[str, LiveValues]:
        """The figures of jobs by uid."""


class Routes(Protocol):
    """The agents of a router, and their jobs. Errors: RequestRefusedError, or those of calls and links."""

    @property
    def pools(self) -> PoolTable:
        """Agents on demand."""

    @property
    def live(self) -> LiveTable:
        """Figures that change all the time."""

    def agents(self) -> Iterable[RoutedAgent]:
        """Return all links."""

    async def create(
        self, choice: Mapping[str, Any], name: str, subject: Subject
    ) -> tuple[RoutedAgent, dict[str, Any]]:
        """Create a job of a subject; return its agent and its info.

        ``choice`` is the ``agent`` of jobs/create, checked already.
        """

    def new_job(self, wanted: NewJob, subject: Subject) -> AbstractAsyncContextManager[RoutedJob]:
        """Return a block that gets a new job, or the one that was created with the key of ``wanted``.

        If the block fails, a job without a key is removed; one with a key stays, so that the request can be repeated.
        """

    async def locate(self, job: JobAddress) -> RoutedAgent:
        """Return the agent of a job."""

    @property
    def tickets(self) -> Tickets:
        """The tickets of jobs."""

    def jobs(self, after: tuple[float, str] | None) -> Iterator[KnownJob]:
        """Iterate over the jobs in the order of their creation, from the one after an age. No await meanwhile."""

    async def ended_jobs(self) -> Sequence[KnownJob]:
        """Return the jobs that have ended, as their agents remember them, in the order of their creation."""

    def job(self, job_uid: str) -> KnownJob | None:
        """Return a job; None if it is not known."""

    def is_away(self, job_uid: str) -> bool:
        """Return whether the agent of a job has no link now."""

    def job_count(self, agent_uid: str) -> int:
        """Return how many jobs of an agent are known."""

    async def cordon(self, agent_uid: str, on: bool) -> bool:
        """Have an agent refuse new jobs, or take them again; return whether all routers know it.

        An agent of the field cannot be asked: then only this router gives it no jobs.
        """

    def subscribe(self, subscriber: Callable[[KnownChange], None]) -> Callable[[], None]:
        """Call ``subscriber`` with each change from now on, until the function that is returned is called."""

    def starting(self, job_uid: str) -> AbstractContextManager[None]:
        """While the block runs, traffic to the job waits."""

    def noted(self, connection_id: str, info: Mapping[str, Any]) -> None:
        """Update a job from its agent's answer, if the agent does not push changes."""

    def answered(self, connection_id: str, info: Any) -> KnownJob:
        """Update a job from its agent's answer, as :meth:`noted`, and return the job.

        ServerError: it is no job.
        """

    async def until_ended(self, job_uid: str) -> None:
        """Return when a known job has no process, or is not known any more. CallError."""

    def removed(self, job_uid: str) -> None:
        """Forget a job that was removed."""

    async def may_dial(self, host: str, port: int) -> list[str]:
        """Resolve an address that a caller wants the router to dial; return the IP addresses.

        RequestRefusedError if it is not allowed.
        """

    @property
    def is_ready(self) -> bool:
        """Whether agents have had their time to come back after a restart."""

    def info(self) -> Mapping[str, Any]:
        """Return the router's handshake data, without secrets."""

    def metrics(self) -> Mapping[Metric, Values]:
        """Return the values of all metrics."""

    def end(self) -> None:
        """Begin a graceful end."""
