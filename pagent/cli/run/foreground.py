"""A job that runs in the foreground, as the parts see it that run its program."""

from __future__ import annotations

from typing import NamedTuple

from pagent.cli.run.forwarded_ports import ForwardedPorts
from pagent.cli.run.introduction import Introduction
from pagent.cli.run.run_request import RunRequest
from pagent.client import AgentClient, RemoteJob


class ForegroundJob(NamedTuple):
    """The request of ``pagent run``, its job, and the resources of this process for the job."""

    request: RunRequest
    agent: AgentClient
    job: RemoteJob
    ports: ForwardedPorts
    introduction: Introduction
