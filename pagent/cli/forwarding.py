"""Local ports that lead to a job of an agent that runs elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from pagent.cli.embedded import remote_agent
from pagent.cli.ended import Ended, explained
from pagent.cli.opening import Opened, close_all, open_port, serve_all
from pagent.cli.publish import Publish
from pagent.cli.terminal import say
from pagent.cli.told import until_told
from pagent.client import RemoteJob

#: Between two looks at a job that is not ready yet.
_LOOK_S: Final = 0.5


async def forward_attached(agent: str, token: str, job_uid: str, publishes: Sequence[Publish]) -> int:
    """Open local ports to a job until it ends or we are told to; returns the exit code."""

    async def work() -> int:
        async with remote_agent(agent, token) as client:
            job = await client.job(job_uid)
            opened: list[Opened] = []
            try:
                for local, number in _leads(publishes, await _ready(job)):
                    what = "the job" if not opened else f"the job's port {number}"
                    # As kubectl does it: the same port here where that is free.
                    opened.append(await open_port(job, local, (number, 0), number, what))
                await serve_all(opened)
                info = await job.wait()
            finally:
                close_all(opened)
            say(f"the job has ended{_how(info)}")
        return 0

    return await until_told(lambda _: explained(work()))


async def _ready(job: RemoteJob) -> list[int]:
    """Return the ports of the job once it has them."""
    told = False
    while (info := await job.info())["state"] == "PENDING":
        if not told:
            told = True
            say(f"job {job.uid} is starting: waiting for its port")
        await asyncio.sleep(_LOOK_S)
    if info["state"] != "RUNNING":
        raise Ended(f"job {job.uid} is {info['state']}: it has no ports to forward to{_how(info)}")
    if not info["ports"]:
        raise Ended(f"job {job.uid} has no ports to forward to")
    ports: list[int] = info["ports"]
    return ports


def _leads(publishes: Sequence[Publish], ports: list[int]) -> list[tuple[int, int]]:
    """Return each local port, 0 for any, with the port of the job that it leads to."""
    if not publishes:
        return [(0, port) for port in ports]
    return [(publish.local, _job_port(publish.job, ports)) for publish in publishes]


def _job_port(wanted: int | str | None, ports: list[int]) -> int:
    has = ", ".join(map(str, ports))
    if wanted is None and len(ports) > 1:
        raise Ended(f"the job has the ports {has}: say which one with -p LOCAL:JOB")
    if wanted is not None and wanted not in ports:
        raise Ended(f"the job has no port {wanted}: it has {has}")
    return ports[0] if wanted is None else int(wanted)


def _how(info: dict[str, Any]) -> str:
    if info["signal"] is not None:
        return f" by {info['signal']}"
    return "" if info["exit_code"] is None else f" with exit code {info['exit_code']}"
