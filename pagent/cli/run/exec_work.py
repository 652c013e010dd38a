"""The work of ``pagent exec``."""

from __future__ import annotations

from dataclasses import dataclass

from pagent.cli.failure import start_failure
from pagent.cli.naming import find_job
from pagent.cli.run.joined_process import JoinedProcess, Joint
from pagent.client import AgentClient
from pagent.errors import MethodError


@dataclass(frozen=True)
class ExecRequest:
    """The arguments of ``pagent exec``."""

    command: list[str]
    environment: dict[str, str]
    joint: Joint


async def run_exec(client: AgentClient, name: str, request: ExecRequest) -> int:
    """Run a command in a job, and return its exit code."""
    job = await find_job(client, name)
    joint = request.joint
    joint.check()
    try:
        async with job.exec(request.command, joint.environment(request.environment), **joint.options()) as process:
            return await JoinedProcess(process, joint).run()
    except MethodError as error:
        raise start_failure(error, request.command[0], None) from None
