"""Remember which agent each job runs on.

The router keeps nothing that must survive it: an agent of ours that comes back is asked for its jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pagent.relay.agent import AgentKey
from pagent.rpc.directory import JobFacts


class JobIndex:
    """The jobs that are known, with the agent of each."""

    def __init__(self) -> None:
        self._agent_of: dict[str, AgentKey] = {}
        self._jobs_of: dict[AgentKey, set[str]] = {}
        self._labels: dict[str, Mapping[str, str]] = {}  # of jobs that have some

    def agent_of(self, job_uid: str) -> AgentKey | None:
        """Return the agent that has the job; None for a job that is not known."""
        return self._agent_of.get(job_uid)

    def facts(self, job_uid: str) -> JobFacts | None:
        """Return the facts of a job; None for a job that is not known."""
        agent = self._agent_of.get(job_uid)
        return None if agent is None else JobFacts(job_uid, agent.uid, self._labels.get(job_uid, {}))

    def labelled(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Return the uids and the labels of the jobs that have labels."""
        return iter(list(self._labels.items()))

    def count(self, agent: AgentKey) -> int:
        """Return how many jobs of an agent are known."""
        return len(self._jobs_of.get(agent, ()))

    def add(self, job_uid: str, agent: AgentKey, labels: Mapping[str, str] | None = None) -> None:
        """Note that an agent has a job, and that no other agent has it. ``labels``: None leaves those that it has."""
        kept = self._labels.get(job_uid) if labels is None else labels
        self.discard(job_uid)
        self._agent_of[job_uid] = agent
        if kept:
            self._labels[job_uid] = kept
        self._jobs_of.setdefault(agent, set()).add(job_uid)

    def discard(self, job_uid: str) -> None:
        """Forget a job that is removed."""
        self._labels.pop(job_uid, None)
        agent = self._agent_of.pop(job_uid, None)
        if agent is None:
            return
        jobs = self._jobs_of[agent]
        jobs.discard(job_uid)
        if not jobs:
            del self._jobs_of[agent]

    def discard_agent(self, agent: AgentKey) -> None:
        """Forget all jobs of an agent."""
        for job_uid in list(self._jobs_of.get(agent, ())):
            self.discard(job_uid)


def labels_of(info: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the labels in a job's info; None for the info of an agent that knows no labels."""
    labels = info.get("labels")
    if not isinstance(labels, dict):
        return None
    return {name: value for name, value in labels.items() if isinstance(name, str) and isinstance(value, str)}
