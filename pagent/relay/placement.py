"""Choose the agent for a new job."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any, Final

from pagent.errors import CallError, LinkClosedError, RequestRefusedError
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory
from pagent.relay.host import HostReport, parse_report

#: Instead of the number of jobs of an agent that does not say it.
_BUSIEST: Final = 1 << 30
#: How long an agent may take to say how busy it is; one that is slower counts as the busiest.
_ANSWER_S: Final = 2.0


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
    await directory.watches.until_listed((agent.key for agent in agents), _ANSWER_S)
    if unwatched := [agent for agent in agents if not agent.is_watched]:
        await asyncio.gather(*map(_ask, unwatched))
        agents = [agent for agent in agents if agent.is_open]
        if not agents:
            raise not_connected(named)

    def order(agent: ConnectedAgent) -> tuple[bool, int, float, float]:
        return agent.host.cordoned, directory.busy(agent), agent.host.load_per_cpu, random.random()

    return min(agents, key=order)


def not_connected(uids: Iterable[str]) -> RequestRefusedError:
    """Return the error for agents that are not connected."""
    return RequestRefusedError(404, f"no connected agent with uid {' or '.join(map(repr, uids))}")


async def _ask(agent: ConnectedAgent) -> None:
    """Renew what is known of how busy an agent is."""
    try:
        count: Any = await agent.call("job_count_current_connection", timeout=_ANSWER_S)
    except (CallError, LinkClosedError):
        count = None
    agent.counted = count if isinstance(count, int) else _BUSIEST
    if agent.is_ours:
        agent.take_report(await _report(agent))


async def _report(agent: ConnectedAgent) -> HostReport:
    """Return the figures of an agent's host; without any if the agent does not know the method."""
    try:
        return parse_report(await agent.call("host_info", timeout=_ANSWER_S))
    except (CallError, LinkClosedError):
        return HostReport(cordoned=agent.host.cordoned)
