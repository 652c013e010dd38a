"""Keep the jobs of agents without a link for a time, and the token that each uid belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from pagent.relay.agent import AgentKey, ConnectedAgent
from pagent.relay.jobs import JobTable


class AbsentAgents:
    """Keeps the jobs of an agent that is away until its time is over or the agent has come back."""

    def __init__(self, jobs: JobTable) -> None:
        # For life.
        self._loop = asyncio.get_running_loop()
        self._jobs = jobs
        # While running.
        self._timers: dict[AgentKey, asyncio.TimerHandle] = {}
        self._lingers: dict[AgentKey, float] = {}  # the longest that a job of an agent was created with
        self._tokens: dict[str, str] = {}  # by the uid of the agent that presented it

    def may_come(self, uid: str, token: str) -> bool:
        """Return whether an agent with this uid may come with this token.

        A uid belongs to the token that it came with as long as the agent has a link or a job that may be adopted.
        """
        return self._tokens.get(uid, token) == token

    def keep_tokens(self, accepted: Collection[str]) -> None:
        """Forget to which tokens uids belong that are not accepted any more."""
        self._tokens = {uid: token for uid, token in self._tokens.items() if token in accepted}

    def lingers(self, key: AgentKey, linger: float) -> None:
        """Note that an agent has got a job that outlives its last link by this many seconds."""
        self._lingers[key] = max(linger, self._lingers.get(key, 0.0))

    def came(self, agent: ConnectedAgent) -> None:
        """Note that an agent has a link, the first one or another."""
        self._cancel_timer(agent.key)
        if not agent.dialled and isinstance(agent.connection.realm, str):
            self._tokens[agent.uid] = agent.connection.realm

    def left(self, agent: ConnectedAgent) -> None:
        """Forget an agent that has lost its last link, once its jobs have ended."""
        key = agent.key
        linger = max(agent.linger, self._lingers.get(key, 0.0))
        if linger and self._jobs.count(key) and not agent.has_ended:
            self._timers[key] = self._loop.call_later(linger, self.forget, key)
        else:
            self.forget(key)

    def forget(self, key: AgentKey) -> None:
        """Forget an agent that does not come back, and its jobs."""
        self._cancel_timer(key)
        self._lingers.pop(key, None)
        self._jobs.discard_agent(key)
        if key.dialled is None:
            self._tokens.pop(key.uid, None)

    def _cancel_timer(self, key: AgentKey) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        """Stop waiting."""
        for timer in self._timers.values():
            timer.cancel()
