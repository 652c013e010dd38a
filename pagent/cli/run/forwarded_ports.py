"""The local ports of ``pagent run``: reserved before the start of the job, accepting once its ports are known."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pagent.cli.failure import CommandFailed
from pagent.cli.ports.local_ports import LocalPort, accept_on_all, close_all, reserve_port
from pagent.cli.ports.port_user import port_user
from pagent.cli.ports.protocols import may_speak_http, scheme_of, url_at
from pagent.cli.ports.publish import stable_ports
from pagent.cli.remote import shares_ports
from pagent.cli.run.run_request import RunRequest
from pagent.client import AgentClient, RemoteJob
from pagent.jobs.given_ports import is_free
from pagent.jobs.placeholders import MAIN


class ForwardedPorts:
    """The ports of one job. None are reserved for a request without ports."""

    def __init__(self, request: RunRequest, agent: AgentClient, job: RemoteJob) -> None:
        # For life.
        self._request = request
        self._agent = agent
        self._job = job
        # Once they are reserved.
        self._local: list[tuple[str, LocalPort]] = []
        # Once the job has its own.
        self._of_job: dict[str, int] = {}

    async def reserve(self) -> None:
        """Bind the local ports. CommandFailed: one is in use."""
        request = self._request
        if not request.has_ports:
            return
        plan, is_local = request.plan, request.target is None
        if is_local:
            for number in plan.fixed():
                if not is_free(number):
                    text = f"port {number} is in use{port_user(number)}"
                    raise CommandFailed(f"{text}: stop the program that uses it, or choose another port")
        for local, name in plan.published:
            self._local.append((name, await self._reserved(local, name)))
        self._local.sort(key=lambda item: item[0] != MAIN)

    async def _reserved(self, local: int, name: str) -> LocalPort:
        plan, is_local = self._request.plan, self._request.target is None
        target = "the job" if name == MAIN else f"the job's port {name}"
        if is_local and local and local == plan.number(name):
            return LocalPort(local, None, f"{target} itself")
        candidates = (port for port in self._stable_ports(name) if not (is_local and port in plan.fixed()))
        return await reserve_port(self._job, local, candidates, self._job_port(name), target)

    def _stable_ports(self, name: str) -> Iterator[int]:
        return stable_ports(self._request.local_folder or os.getcwd(), self._request.command, name)

    def _job_port(self, name: str) -> Callable[[], int] | None:
        """Return None for the only port of a job: older agents cannot be asked for a port by number."""
        return (lambda: self._of_job[name]) if self._request.plan.more else None

    def options(self) -> dict[str, Any]:
        """Return the options of ``RemoteJob.start`` and ``RemoteJob.run`` for the ports of the job."""
        plan = self._request.plan
        if not self._request.has_ports:
            return {}
        return {"port": plan.main or "auto", "prefer_port": self._preferred(), "more_ports": plan.more or None}

    def _preferred(self) -> int | None:
        """Return the local port if the job may have the same: then URLs that the program prints work here, too."""
        target = self._request.target
        if target is None or self._request.plan.main is not None or shares_ports(self._agent, target.address):
            return None
        return self._local[0][1].number

    def assign(self, numbers: Sequence[int]) -> None:
        """Take the ports of the job, the main one first."""
        self._of_job = dict(zip((MAIN, *self._request.plan.more), numbers, strict=False))

    def by_job_port(self) -> Mapping[int, int]:
        """Return the local port of each port of the job."""
        return {self._of_job[name]: port.number for name, port in self._local if name in self._of_job}

    def url(self, printed: Callable[[int], str | None]) -> str | None:
        """Return the URL of the main port; None if the program is not known to speak HTTP.

        :param printed: returns the scheme of the URL that the program has printed for a port of it.
        """
        port, request = self._of_job.get(MAIN), self._request
        if not self._local or port is None:
            return None
        scheme = printed(port) or scheme_of(request.command, port, request.scripts_folder)
        if scheme is None and request.has_browser and may_speak_http(request.command, port):
            scheme = "http"
        return url_at(scheme, self._local[0][1].number)

    async def accept(self, url: str | None, *, ends: str) -> None:
        """Accept connections, and print where each port forwards to.

        :param url: of the main port.
        :param ends: how the user ends the command.
        """
        if self._local:
            await accept_on_all([port for _, port in self._local], url, ends=ends)

    def close(self) -> None:
        """Stop listening."""
        close_all([port for _, port in self._local])
