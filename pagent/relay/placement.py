"""Choose the agent for a new job."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pagent.errors import CALL_ERRORS, RequestRefusedError
from pagent.relay.agent import ConnectedAgent
from pagent.relay.conditions import parse_where
from pagent.relay.directory import AgentDirectory
from pagent.relay.host import HostReport, parse_report
from pagent.rpc.new_job import ORDERS, AgentChoice
from pagent.runtime.timeslice import current_slice

#: Instead of the number of jobs of an agent that does not say it.
_BUSIEST: Final = 1 << 30
#: Seconds that an agent may take to send its load; a slower one counts as the busiest.
_ANSWER_S: Final = 2.0
#: Seconds after which a client may ask again if no agent has room.
_RETRY_S: Final = 5

#: Returns whether a job with these labels is one of those that are spread.
Like = Callable[[Mapping[str, str]], bool]
#: Returns the place of an agent in an order: the least is chosen.
Order = Callable[[ConnectedAgent], tuple[float, ...]]


async def choose(
    directory: AgentDirectory, choice: AgentChoice, allowed: Callable[[ConnectedAgent], bool], *, like: Like
) -> list[ConnectedAgent]:
    """Return the agents for a new job that meet the conditions and have room, the best first.

    ``allowed``: whether an agent may be chosen. ``like``: the jobs that ``spread`` counts.
    RequestRefusedError: 404 if the agent that is named is not connected, 503 if none has room, 400.
    """
    if choice.uid is not None:
        named = directory.table.agent(choice.uid)
        if named is None or not allowed(named):
            raise not_connected([choice.uid]) if directory.is_settled else _not_back()
        if named.host.cordoned:
            raise RequestRefusedError(409, f"agent {choice.uid!r} is cordoned: it takes no new jobs")
        return [named]
    fitting = await _fitting(directory, choice, allowed)
    await _refresh(directory, fitting)
    with_room = [agent for agent in fitting if agent.is_open and not _is_full(directory, agent)]
    if not with_room:
        raise _no_agent(directory, fitting)
    order = _ORDERS[choice.order](directory, like)
    return sorted(with_room, key=lambda agent: (*order(agent), random.random()))


async def _fitting(
    directory: AgentDirectory, choice: AgentChoice, allowed: Callable[[ConnectedAgent], bool]
) -> list[ConnectedAgent]:
    """Return the agents that meet the conditions, one link of each."""
    condition, slices = parse_where(choice.where), current_slice()
    fitting = []
    for uid in {agent.uid for agent in directory.table}:
        await slices.wait()
        agent = directory.table.agent(uid)
        if agent is not None and allowed(agent) and condition(agent.data):
            fitting.append(agent)
    return fitting


def _is_full(directory: AgentDirectory, agent: ConnectedAgent) -> bool:
    """Return whether an agent is to get no new job, cordoned ones included."""
    host = agent.host
    if host.cordoned or host.is_short:
        return True
    return host.jobs_max is not None and directory.busy(agent) + agent.others >= host.jobs_max


def _no_agent(directory: AgentDirectory, fitting: list[ConnectedAgent]) -> RequestRefusedError:
    if not directory.is_settled:
        return _not_back()
    if not fitting:
        return RequestRefusedError(503, "no connected agent meets the conditions", retry_after_s=_RETRY_S)
    cordoned = sum(agent.host.cordoned for agent in fitting)
    words = f"no agent has room: {len(fitting)} meet the conditions, {cordoned} are cordoned, the others are full"
    return RequestRefusedError(503, words, retry_after_s=_RETRY_S)


def _not_back() -> RequestRefusedError:
    return RequestRefusedError(503, "the agents are not back yet", retry_after_s=2)


# --- the orders -------------------------------------------------------------------------------------


def _fewest_jobs(directory: AgentDirectory, like: Like) -> Order:
    return lambda agent: (directory.busy(agent), agent.host.load_per_cpu)


def _least_load(directory: AgentDirectory, like: Like) -> Order:
    return lambda agent: (agent.host.load_per_cpu, directory.busy(agent))


def _spread(directory: AgentDirectory, like: Like) -> Order:
    def order(agent: ConnectedAgent) -> tuple[float, ...]:
        alike = sum(like(record.labels) for record in directory.jobs.of(agent.key))
        return alike + directory.creating(agent), directory.busy(agent), agent.host.load_per_cpu

    return order


_ORDERS: Final[Mapping[str, Callable[[AgentDirectory, Like], Order]]] = dict(
    zip(ORDERS, (_fewest_jobs, _least_load, _spread), strict=True)
)


# --- agents that are named --------------------------------------------------------------------------


async def select(directory: AgentDirectory, uids: Iterable[str]) -> ConnectedAgent:
    """Return the agent with the fewest jobs, then with the least load, then any, of those that are connected.

    Cordoned agents come last. RequestRefusedError if no agent is connected.
    """
    named = list(dict.fromkeys(uids))
    agents = [agent for uid in named if (agent := directory.table.agent(uid)) is not None]
    if not agents:
        raise not_connected(named)
    if len(agents) == 1:
        return agents[0]
    await _refresh(directory, agents)
    agents = [agent for agent in agents if agent.is_open]
    if not agents:
        raise not_connected(named)

    def order(agent: ConnectedAgent) -> tuple[bool, int, float, float]:
        return agent.host.cordoned, directory.busy(agent), agent.host.load_per_cpu, random.random()

    return min(agents, key=order)


def not_connected(uids: Iterable[str]) -> RequestRefusedError:
    """Return the error for agents that are not connected."""
    return RequestRefusedError(404, f"no connected agent with uid {' or '.join(map(repr, uids))}")


async def _refresh(directory: AgentDirectory, agents: list[ConnectedAgent]) -> None:
    """Have it known how busy agents are. It is, of those that are watched."""
    await directory.watches.until_listed((agent.key for agent in agents), _ANSWER_S)
    await asyncio.gather(*(_ask(agent) for agent in agents if not agent.is_watched))


async def _ask(agent: ConnectedAgent) -> None:
    """Update the load of an agent."""
    try:
        count: Any = await agent.call("job_count_current_connection", timeout=_ANSWER_S)
    except CALL_ERRORS:
        count = None
    agent.counted = count if isinstance(count, int) else _BUSIEST
    if agent.is_ours:
        agent.take_report(await _report(agent))


async def _report(agent: ConnectedAgent) -> HostReport:
    """Return the figures of an agent's host; without any if the agent does not know the method."""
    try:
        return parse_report(await agent.call("host_info", timeout=_ANSWER_S))
    except CALL_ERRORS:
        return HostReport(cordoned=agent.host.cordoned)
