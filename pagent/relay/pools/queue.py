"""The jobs of requests in the router's table of jobs: they wait for an agent, or got none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pagent.job_states import FINISHED, QUEUED
from pagent.relay.jobs import JobTable
from pagent.relay.pools.request import PoolRequest

#: The keys of an info that a queued job has no values for.
_NONE: Final = dict.fromkeys(("exit_code", "signal", "ports", "started_at"))


class JobQueue:
    """Keeps the table of jobs up to date."""

    def __init__(self, jobs: JobTable) -> None:
        self._jobs = jobs

    def show(self, request: PoolRequest) -> None:
        """List the jobs that wait for the agent of a request."""
        for job in request.pending.values():
            info = _info(request, job.uid, job.name or "", job.labels, QUEUED, request.output.last_line)
            waiting = {"state_changed_at": request.state_changed_at, "command_output": [*request.output.last_lines]}
            self._jobs.queue({**info, **waiting}, request.data.agent_uid)

    def fail(self, request: PoolRequest) -> None:
        """List the jobs of a request that could not be started, with the reason."""
        for uid, failure in request.failures.items():
            info = _info(request, uid, failure.name, failure.labels, FINISHED, failure.text)
            ended = {"exit_code": failure.exit_code, "signal": failure.signal, "finished_at": failure.time}
            self._jobs.queue({**info, **ended, "error": failure.text}, None)

    def arrived(self, job_uid: str) -> None:
        """Note that a job is at its agent."""
        self._jobs.arrived(job_uid)

    def remove(self, job_uid: str) -> None:
        """Forget a job that its client does not want any more."""
        record = self._jobs.get(job_uid)
        if record is not None and record.is_queued:
            self._jobs.removed(job_uid)


def _info(
    request: PoolRequest, uid: str, name: str, labels: Mapping[str, str], state: str, message: str
) -> dict[str, Any]:
    return {
        "uid": uid,
        "name": name,
        "state": state,
        "labels": dict(labels),
        "created_at": request.data.created_at,
        "pool": request.data.pool,
        "message": message,
        "command_job": request.command,
        **_NONE,
    }
