"""A job for an agent that a pool starts: the words between the API and the pools of a router."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pagent.rfc3339 import utc_text


class PoolJob(NamedTuple):
    """The terms of a job. ``files``: path, content and whether it is executable, of each.

    ``start``: the arguments of job_start; None if the job is not to be started. ``linger``: None for the one of the
    configuration. ``is_single``: the agent ends with the job, and gets no other.
    """

    uid: str
    name: str | None
    labels: Mapping[str, str]
    linger: float | None = None
    idle_after: float | None = None
    files: tuple[tuple[str, bytes, bool], ...] = ()
    start: Mapping[str, Any] | None = None
    is_single: bool = False


class PoolRequestView(NamedTuple):
    """A request for an agent. ``message``: the last line of the engine's output, or why its job got no agent.

    ``error``: that reason; None if there is none. ``command_job``: the uid of the job that runs the command.
    ``command_output``: the last lines of its output. ``state_changed_at``: when the request got its state, in epoch
    seconds.
    """

    rid: str
    pool: str
    state: str
    agent_uid: str
    parameters: Mapping[str, str]
    created_at: float
    job: PoolJob
    message: str
    error: str | None
    state_changed_at: float
    command_job: str
    command_output: tuple[str, ...]

    def json_object(self) -> dict[str, Any]:
        """Return the request as the API answers it."""
        return {
            "id": self.rid,
            "pool": self.pool,
            "state": self.state,
            "agent": self.agent_uid,
            "job": self.job.uid,
            "parameters": dict(self.parameters),
            "message": self.message,
            "error": self.error,
            "created_at": utc_text(self.created_at),
            "state_changed_at": utc_text(self.state_changed_at),
            "command_job": self.command_job,
            "command_output": [*self.command_output],
        }


class PoolView(NamedTuple):
    """A pool. ``most``: agents that it may have. ``agents``: uids of those that are connected."""

    name: str
    most: int
    parameters: tuple[str, ...]
    agents: tuple[str, ...]
    requests: tuple[PoolRequestView, ...]
