"""An agent at the other end of a link: its jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pagent.client.calls import check_text
from pagent.client.job import RemoteJob
from pagent.client.link import ClientLink, connect
from pagent.errors import MethodError
from pagent.limits import FIGURES_INTERVAL_S, TERM_GRACE_S, WATCH_INTERVAL_S
from pagent.wire import messages


class AgentClient:
    """Methods of an agent that do not concern one job (docs/contract.rst, "Methods")."""

    def __init__(self, link: ClientLink) -> None:
        self.link = link

    @property
    def identity(self) -> dict[str, Any]:
        """Return the agent's handshake data: ``auth`` (uid, name), ``platform``, ``properties``."""
        assert self.link.peer is not None
        return self.link.peer.data

    async def create_job(
        self,
        name: str | None = None,
        *,
        linger: float | None = None,
        uid: str | None = None,
        labels: Mapping[str, str] | None = None,
        idle_after: float | None = None,
        pool: Mapping[str, str] | None = None,
    ) -> RemoteJob:
        """Create a job (``job_create``). It ends with this link, or ``linger`` seconds after it.

        :param uid: 32 hex digits. If there is a job with this uid, return that job: the call may be repeated.
        :param labels: at most 16, which are part of the job's info.
        :param idle_after: seconds without use after which the agent ends the job.
        :param pool: of a router: a pool that starts the agent, as ``pool``, and its parameters. The state of the job is
            QUEUED until the agent has come, which :meth:`RemoteJob.wait` waits for.
        """
        chosen: dict[str, Any] = {
            "linger": linger,
            "uid": uid,
            "labels": None if labels is None else dict(labels),
            "idle_after": idle_after,
            "pool": None if pool is None else dict(pool),
        }
        options = {key: value for key, value in chosen.items() if value is not None}  # older agents have none
        check_text((name, options))
        return RemoteJob(self.link, await self.link.call("job_create", name, **options))

    async def adopt_job(self, uid: str) -> RemoteJob:
        """Take over a job of the same token (``job_adopt``). MethodError: JobNotFoundError."""
        return RemoteJob(self.link, await self.link.call("job_adopt", uid))

    async def job(self, uid: str) -> RemoteJob:
        """Return a job that this link may use (``job_info``). MethodError: JobNotFoundError."""
        return RemoteJob(self.link, await self.link.call("job_info", uid))

    async def jobs(self) -> list[RemoteJob]:
        """Return the jobs that this link has or may adopt, in the order of their creation (``job_list``)."""
        found: list[RemoteJob] = []
        page = await self.link.call("job_list")
        while page:
            found += [RemoteJob(self.link, info) for info in page]
            page = await self._jobs_after(found[-1].uid)
        return found

    async def _jobs_after(self, uid: str) -> list[dict[str, Any]]:
        try:
            page: list[dict[str, Any]] = await self.link.call("job_list", uid)
        except MethodError as error:
            if error.cause_type != "TypeError":
                raise
            return []  # an agent of an earlier release, whose list has no pages
        return page

    async def ended_jobs(self) -> list[dict[str, Any]]:
        """Return the infos of jobs that have ended or were removed lately (``job_list``), in the order of creation."""
        found: list[dict[str, Any]] = []
        while page := await self.link.call("job_list", found[-1]["uid"] if found else None, ended=True):
            found += page
        return found

    async def count_jobs(self) -> int:
        """Return the number of jobs of this link (``job_count_current_connection``)."""
        count: int = await self.link.call("job_count_current_connection")
        return count

    async def host_info(self) -> dict[str, Any]:
        """Return the figures of the agent's host (``host_info``)."""
        info: dict[str, Any] = await self.link.call("host_info")
        return info

    async def agents(self) -> list[dict[str, Any]]:
        """Return the agents of a router, ordered by uid (``agent_list``). MethodNotFoundError from an agent."""
        found: list[dict[str, Any]] = []
        while page := await self.link.call("agent_list", found[-1]["uid"] if found else None):
            found += page
        return found

    async def cordon(self, on: bool) -> dict[str, Any]:
        """Let the agent refuse new jobs, or end that; return the figures of its host (``host_cordon``)."""
        info: dict[str, Any] = await self.link.call("host_cordon", on)
        return info

    async def end(self, *, grace: float = TERM_GRACE_S) -> None:
        """End an agent that was started with ``--join`` (``host_end``); its jobs have ``grace`` seconds.

        MethodError if it was not.
        """
        await self.link.call("host_end", grace)

    async def watch(self, *, interval: float = WATCH_INTERVAL_S) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the messages of ``agent_watch``: all jobs, then their changes, and the figures of the host.

        Close the iteration (``contextlib.aclosing``) to end the watch. MethodError, LinkClosedError.
        """
        async with self.link.open_stream(messages.ISTREAM, "agent_watch", interval) as call:
            async for message in call:
                yield message
            await call.result()

    async def figures(self, *, interval: float = FIGURES_INTERVAL_S) -> AsyncGenerator[dict[str, list[Any]], None]:
        """Yield the messages of ``job_figures``: the figures of all jobs, then those that have changed.

        Close the iteration (``contextlib.aclosing``) to end it. MethodError, MethodNotFoundError, LinkClosedError.
        """
        async with self.link.open_stream(messages.ISTREAM, "job_figures", interval) as call:
            async for message in call:
                yield message
            await call.result()


@asynccontextmanager
async def connect_agent(address: str, *, token: str, **options: Any) -> AsyncIterator[AgentClient]:
    """Connect as :func:`~pagent.client.link.connect` does, and yield a client with typed methods."""
    async with connect(address, token=token, **options) as link:
        yield AgentClient(link)
