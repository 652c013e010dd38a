"""The work of ``pagent forward``: local ports that forward to a job of a remote agent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from pagent.cli.failure import CommandFailed, exit_code_of
from pagent.cli.interrupt import run_until_signalled
from pagent.cli.job_wait import wait_across_links
from pagent.cli.naming import find_job
from pagent.cli.outcome import describe_end
from pagent.cli.ports.local_ports import LocalPort, accept_on_all, close_all, reserve_port
from pagent.cli.ports.protocols import url_at
from pagent.cli.ports.publish import Publish
from pagent.cli.ports.url_reports import host_names, printed_schemes
from pagent.cli.remote import remote_agent
from pagent.cli.target import Target
from pagent.cli.terminal.standard_streams import say
from pagent.client import AgentClient, RemoteJob
from pagent.client.link import REDIAL_S
from pagent.job_states import PENDING, RUNNING
from pagent.log import escape
from pagent.runtime.tasks import TaskOwner

#: Between two requests for the state of a job that is starting, or whose agent has no link to its router.
_POLL_S: Final = 0.5

#: Is called with the local number of the first port, and the URL that was printed for it, once it accepts connections.
Ready = Callable[[int, str | None], Awaitable[None]]


async def forward_attached(target: Target, name: str, publishes: Sequence[Publish]) -> int:
    """Forward local ports to a job until it ends or a signal arrives; return the exit code."""

    async def work() -> int:
        async with remote_agent(target.address, target.token, redial_s=REDIAL_S) as client:
            return await forward_until_end(client, await find_job(client, name), publishes)

    return await run_until_signalled(lambda _: exit_code_of(work()))


async def forward_until_end(
    client: AgentClient, job: RemoteJob, publishes: Sequence[Publish], ready: Ready | None = None
) -> int:
    """Forward local ports to a job until it ends; return 0. A lost link is dialled again meanwhile."""
    ports: list[LocalPort] = []
    tasks = TaskOwner("forwarded ports")
    try:
        targets = _targets(publishes, await running_ports(job))
        for local, number in targets:
            what = "the job" if not ports else f"the job's port {number}"
            # The same number as the job's where that is free, as kubectl port-forward does.
            ports.append(await reserve_port(job, local, (number, 0), number, what))
        schemes = await printed_schemes(job, host_names(client))
        url = url_at(schemes.get(targets[0][1]), ports[0].number)
        await accept_on_all(ports, url, ends="press Ctrl-C to stop")
        if ready is not None:
            tasks.start(_called(ready, ports[0].number, url), name="ready")
        info = await wait_across_links(job, say)
    finally:
        close_all(ports)
        await tasks.close()
    reason = f": {escape(str(info['error']))}" if info.get("error") else ""
    say(f"the job has ended {describe_end(info)}".rstrip() + reason)
    return 0


async def _called(ready: Ready, number: int, url: str | None) -> None:
    await ready(number, url)


async def running_ports(job: RemoteJob) -> list[int]:
    """Wait until the job has started, and return its ports. CommandFailed: it does not run, or has none."""
    announced = False
    while (info := await job.info())["state"] == PENDING:
        if not announced:
            announced = True
            say(f"waiting for job {job.uid} to start")
        await asyncio.sleep(_POLL_S)
    if info["state"] != RUNNING:
        end = describe_end(info)
        raise CommandFailed(f"job {job.uid} does not run: {info['state']}{f', ended {end}' if end else ''}")
    if not info["ports"]:
        raise CommandFailed(f"job {job.uid} has no ports")
    ports: list[int] = info["ports"]
    return ports


def _targets(publishes: Sequence[Publish], ports: list[int]) -> list[tuple[int, int]]:
    """Return pairs of a local port, 0 for any, and the port of the job that it forwards to."""
    if not publishes:
        return [(0, port) for port in ports]
    return [(publish.local, chosen_port(publish.job, ports)) for publish in publishes]


def chosen_port(wanted: int | str | None, ports: list[int]) -> int:
    """Return the port of a job that an option or an argument names. CommandFailed."""
    listed = ", ".join(map(str, ports))
    if isinstance(wanted, str):
        raise CommandFailed(f"the ports of a running job have no names: use one of {listed} in place of {wanted}")
    if wanted is None and len(ports) > 1:
        raise CommandFailed(f"the job has the ports {listed}: choose one with -p LOCAL:JOB")
    if wanted is not None and wanted not in ports:
        raise CommandFailed(f"the job has no port {wanted}, only {listed}")
    return ports[0] if wanted is None else wanted
