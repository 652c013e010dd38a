"""Give a job to an idle agent of the same pool, owner and parameters, instead of starting another one."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import Final

from pagent.config.joining import CORDON_S, WARN_S
from pagent.errors import JOB_CALL_ERRORS
from pagent.limits import DEFAULT_CALL_TIMEOUT_S
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory
from pagent.relay.host import HostReport
from pagent.relay.pools.engine import CLAIM_HELD_S, Engine
from pagent.relay.pools.notes import CLAIM_NOTE, RequestData, encode_job
from pagent.relay.pools.registry import RequestRegistry
from pagent.relay.pools.request import PoolRequest
from pagent.relay.pools.states import RequestedJobInput
from pagent.router_limits import POOL_CLAIMS_MAX
from pagent.rpc.pool_job import PoolJob

#: Seconds for which an agent is not asked again after it turned out to have a job.
_RETRY_S: Final = 1.0
#: The part of its time that an agent must have left for another job.
_PART: Final = 0.5


def has_time(host: HostReport, job: PoolJob, now: float) -> bool:
    """Return whether an agent has enough time left for a job; False until the agent has sent its time."""
    if host.started_at is None:
        return False
    if host.deadline is None:
        return True
    left_s = host.deadline - now
    timeout_s = (job.start or {}).get("timeout") or 0.0
    return left_s > max(CORDON_S, WARN_S + timeout_s) and left_s >= _PART * (host.deadline - host.started_at)


class IdleAgents:
    """Claims idle agents.

    A claim is a note of the command's job. One router at a time can hold an agent so. It then asks the agent whether it
    is idle, and writes the job into the note. So no two routers give a job to one agent.
    """

    def __init__(self, directory: AgentDirectory, requests: RequestRegistry, engine: Engine) -> None:
        self._directory = directory
        self._requests = requests
        self._engine = engine

    async def take(self, data: RequestData, waiting: PoolRequest | None) -> PoolRequest | None:
        """Give the job of a request to an idle agent; return the request of that agent, None if there is none.

        ``waiting``: the request, if it is known already: it is not needed any more then.
        """
        for idle in self._requests.active(data.pool):
            if idle is waiting or not self._is_alike(idle, data):
                continue
            if self._has(idle, data) or (self._is_free(idle, data.job) and await self._claim(idle, data, waiting)):
                if waiting is not None:
                    waiting.apply_to_job(RequestedJobInput.MOVE)
                return idle
        return None

    @staticmethod
    def _is_alike(idle: PoolRequest, data: RequestData) -> bool:
        return (idle.data.owner, idle.data.parameters) == (data.owner, data.parameters)

    @staticmethod
    def _has(idle: PoolRequest, data: RequestData) -> bool:
        """Return whether a router has given the job to the agent."""
        return any(job is not None and job.uid == data.job.uid for job in idle.claims.values())

    def _is_free(self, idle: PoolRequest, job: PoolJob) -> bool:
        if idle.data.job.is_single or not idle.is_delivered or idle.is_ending or idle.held or idle.pending:
            return False
        agent = self._agent(idle)
        if agent is None or agent.host.cordoned or self._directory.busy(agent):
            return False
        return has_time(agent.host, job, time.time()) and len(idle.claims) < POOL_CLAIMS_MAX

    async def _claim(self, idle: PoolRequest, data: RequestData, waiting: PoolRequest | None) -> bool:
        """Claim an agent. Return whether it gets the job."""
        number = next(number for number in count() if number not in idle.claims)
        clock = asyncio.get_running_loop().time
        until = clock() + CLAIM_HELD_S / 2
        try:
            if not await self._is_idle(idle):
                self._look_again(waiting)
                return False
            if not await self._engine.hold(idle, number):
                return False
            if not await self._is_idle(idle) or clock() > until:
                return False
            idle.claims[number] = data.job
            await self._engine.note(idle, f"{CLAIM_NOTE}{number}", encode_job(data.job))
        except JOB_CALL_ERRORS:
            # Whether the note is kept is not known. The job stays claimed here; other routers may learn of it later.
            return idle.claims.get(number) is not None
        idle.changed.set()
        return True

    async def _is_idle(self, idle: PoolRequest) -> bool:
        """Ask the agent for its jobs: this router may not know those of another router yet."""
        agent = self._agent(idle)
        return agent is not None and not await agent.call("job_list", None, 1, timeout=DEFAULT_CALL_TIMEOUT_S)

    @staticmethod
    def _look_again(waiting: PoolRequest | None) -> None:
        if waiting is not None:
            asyncio.get_running_loop().call_later(_RETRY_S, waiting.changed.set)

    def _agent(self, request: PoolRequest) -> ConnectedAgent | None:
        return self._directory.table.agent(request.data.agent_uid)
