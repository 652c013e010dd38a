"""Keep the jobs of agents without a link for a time, and the token that each uid belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from pagent.relay.agent import AgentKey, ConnectedAgent
from pagent.relay.jobs import JobTable
from pagent.runtime.silence import SilenceTimer

#: Jobs whose linger times differ by less, in seconds, are forgotten together.
_TOGETHER_S: Final = 0.01


class _Absence:
    """The absence of one agent. ``linger_s``: of its jobs for which none is known. ``timer``: for the next job."""

    def __init__(self, began: float, linger_s: float) -> None:
        self.began: Final = began
        self.linger_s: Final = linger_s
        self.timer: SilenceTimer | None = None

    def cancel(self) -> None:
        """Stop waiting."""
        if self.timer is not None:
            self.timer.cancel()


class AbsentAgents:
    """Keeps each job of an agent that is away until its own linger has passed or the agent has come back."""

    def __init__(self, jobs: JobTable) -> None:
        # For life.
        self._loop = asyncio.get_running_loop()
        self._jobs = jobs
        # While running.
        self._absences: dict[AgentKey, _Absence] = {}
        self._tokens: dict[str, str] = {}  # by the uid of the agent that presented it

    def may_come(self, uid: str, token: str) -> bool:
        """Return whether an agent with this uid may come with this token.

        A uid belongs to the token that it came with as long as the agent has a link or a job that may be adopted.
        """
        return self._tokens.get(uid, token) == token

    def keep_tokens(self, accepted: Collection[str]) -> None:
        """Forget to which tokens uids belong that are not accepted any more."""
        self._tokens = {uid: token for uid, token in self._tokens.items() if token in accepted}

    def came(self, agent: ConnectedAgent) -> None:
        """Note that an agent has a link, the first one or another."""
        self._end_absence(agent.key)
        if not agent.dialled and isinstance(agent.connection.realm, str):
            self._tokens[agent.uid] = agent.connection.realm

    def left(self, agent: ConnectedAgent) -> None:
        """Forget each job of an agent that has lost its last link when its linger has passed, then the agent."""
        self._end_absence(agent.key)
        if agent.has_ended:
            self.forget(agent.key)
        else:
            self._absences[agent.key] = _Absence(self._loop.time(), agent.linger)
            self._forget_jobs(agent.key)

    def _forget_jobs(self, key: AgentKey) -> None:
        """Forget the jobs whose linger has passed, and wait for the next one; forget the agent after its last job."""
        absence = self._absences[key]
        passed = self._loop.time() - absence.began
        left: list[float] = []
        for job in self._jobs.of(key):
            linger = absence.linger_s if job.linger_s is None else job.linger_s
            if linger <= passed + _TOGETHER_S:
                self._jobs.discard(job.uid)
            else:
                left.append(linger - passed)
        if left:
            absence.timer = SilenceTimer(min(left), self._forget_jobs, key)
        else:
            self.forget(key)

    def forget(self, key: AgentKey) -> None:
        """Forget an agent that does not come back, and its jobs."""
        self._end_absence(key)
        self._jobs.discard_agent(key)
        if key.dialled is None:
            self._tokens.pop(key.uid, None)

    def _end_absence(self, key: AgentKey) -> None:
        if (absence := self._absences.pop(key, None)) is not None:
            absence.cancel()

    def close(self) -> None:
        """Stop waiting."""
        for absence in self._absences.values():
            absence.cancel()
