"""Decide which request of a pool may start its command: at most ``max`` agents, over all routers.

The agent that runs the commands is the one place that all routers see. It orders the jobs of the commands by their
creation. A request may start if fewer than ``max`` others have started or are older, by a list that this agent has
given after the request was made. Of any two requests the younger one has seen the other, so there are never too many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pagent.job_states import ENDED, NEW
from pagent.relay.agent import ConnectedAgent
from pagent.relay.asking import jobs_of
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.joins import pool_of
from pagent.relay.pools.notes import POOL_LABEL, RID_LABEL
from pagent.relay.pools.request import PoolRequest
from pagent.relay.pools.states import RequestState
from pagent.relay.record import labels_of

#: Returns the requests of a pool that this router knows, those that have ended included.
Known = Callable[[str], Iterable[PoolRequest]]


class Turns:
    """Counts the agents of pools."""

    def __init__(self, directory: AgentDirectory, known: Known) -> None:
        self._directory = directory
        self._known = known

    async def may_start(self, request: PoolRequest, most: int) -> bool:
        """Return whether a request may start, by the requests known here and by the jobs of its command's agent."""
        if self._others(request) >= most:
            return False
        agent = self._launcher(request)
        if agent is None:
            return False
        infos = await jobs_of(agent)
        return any(info["uid"] == request.command for info in infos) and self._others(request, infos) < most

    def agents(self, name: str) -> tuple[str, ...]:
        """Return the uids of the connected agents of a pool."""
        links = (agent for agent in self._directory.table if pool_of(agent.connection.realm) == name)
        return tuple(sorted({agent.uid for agent in links}))

    def _launcher(self, request: PoolRequest) -> ConnectedAgent | None:
        key = self._directory.jobs.agent_of(request.command)
        return None if key is None else self._directory.table.newest(key)

    def _others(self, request: PoolRequest, infos: Iterable[dict[str, Any]] = ()) -> int:
        """Return how many agents a pool has, or will have before this request."""
        name = request.data.pool
        known = {each.data.rid: each for each in self._known(name)}
        counted = {rid for rid, each in known.items() if not each.has_ended and self._precedes(each, request)}
        for info in infos:
            labels = labels_of(info) or {}
            rid = labels.get(RID_LABEL, "")
            if labels.get(POOL_LABEL) == name and rid not in known and _counts(info, request):
                counted.add(rid)
        counted.discard(request.data.rid)
        return len(counted) + self._without_command(name, known.values())

    def _precedes(self, other: PoolRequest, request: PoolRequest) -> bool:
        record = self._directory.jobs.get(other.command)
        has_started = other.state is not RequestState.REQUESTED or (record is not None and record.state != NEW)
        return has_started or other.place < request.place

    def _without_command(self, name: str, known: Iterable[PoolRequest]) -> int:
        """Return how many agents of a pool have a link although their command was lost, with the agent that ran it."""
        return len({*self.agents(name)} - {each.data.agent_uid for each in known if not each.has_ended})


def _counts(info: dict[str, Any], request: PoolRequest) -> bool:
    """Return whether a request that only the agent of its command knows is before another."""
    if info.get("state") in ENDED:
        return False
    return info.get("state") != NEW or (info.get("created_at") or 0.0, info["uid"]) < request.place
