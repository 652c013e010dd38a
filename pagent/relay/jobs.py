"""Remember which agent each job runs on.

The router keeps nothing that must survive it: an agent of ours that comes back is asked for its jobs.
"""

from __future__ import annotations

from pagent.relay.agent import AgentKey


class JobIndex:
    """The jobs that are known, with the agent of each."""

    def __init__(self) -> None:
        self._agent_of: dict[str, AgentKey] = {}
        self._jobs_of: dict[AgentKey, set[str]] = {}

    def agent_of(self, job_uid: str) -> AgentKey | None:
        """Return the agent that has the job; None for a job that is not known."""
        return self._agent_of.get(job_uid)

    def count(self, agent: AgentKey) -> int:
        """Return how many jobs of an agent are known."""
        return len(self._jobs_of.get(agent, ()))

    def add(self, job_uid: str, agent: AgentKey) -> None:
        """Note that an agent has a job, and that no other agent has it."""
        self.discard(job_uid)
        self._agent_of[job_uid] = agent
        self._jobs_of.setdefault(agent, set()).add(job_uid)

    def discard(self, job_uid: str) -> None:
        """Forget a job that is removed."""
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
