"""The work of ``pagent forward``: local ports that forward to a job of a remote agent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from pagent.cli.failure import CommandFailed, exit_code_of
from pagent.cli.interrupt import run_until_signalled
from pagent.cli.local_ports import LocalPort, accept_on_all, close_all, reserve_port
from pagent.cli.naming import find_job
from pagent.cli.outcome import describe_end
from pagent.cli.publish import Publish
from pagent.cli.remote import remote_agent
from pagent.cli.target import Target
from pagent.cli.terminal import say
from pagent.client import RemoteJob

#: Between two requests for the state of a job that is starting.
_POLL_S: Final = 0.5


async def forward_attached(target: Target, name: str, publishes: Sequence[Publish]) -> int:
    """Forward local ports to a job until it ends or a signal arrives; return the exit code."""

    async def work() -> int:
        async with remote_agent(target.address, target.token) as client:
            job = await find_job(client, name)
            ports: list[LocalPort] = []
            try:
                for local, number in _targets(publishes, await _ready(job)):
                    what = "the job" if not ports else f"the job's port {number}"
                    # The same number as the job's where that is free, as kubectl port-forward does.
                    ports.append(await reserve_port(job, local, (number, 0), number, what))
                await accept_on_all(ports)
                info = await job.wait()
            finally:
                close_all(ports)
            say(f"the job has ended {describe_end(info)}".rstrip())
        return 0

    return await run_until_signalled(lambda _: exit_code_of(work()))


async def _ready(job: RemoteJob) -> list[int]:
    """Wait until the job has started, and return its ports."""
    announced = False
    while (info := await job.info())["state"] == "PENDING":
        if not announced:
            announced = True
            say(f"waiting for job {job.uid} to start")
        await asyncio.sleep(_POLL_S)
    if info["state"] != "RUNNING":
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
    return [(publish.local, _job_port(publish.job, ports)) for publish in publishes]


def _job_port(wanted: int | str | None, ports: list[int]) -> int:
    listed = ", ".join(map(str, ports))
    if wanted is None and len(ports) > 1:
        raise CommandFailed(f"the job has the ports {listed}: choose one with -p LOCAL:JOB")
    if wanted is not None and wanted not in ports:
        raise CommandFailed(f"the job has no port {wanted}, only {listed}")
    return ports[0] if wanted is None else int(wanted)
