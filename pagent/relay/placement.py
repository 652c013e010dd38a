"""Choose the agent for a new job."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any, Final

from pagent.errors import CallError, LinkClosedError, RequestRefusedError
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory

#: Instead of the number of jobs of an agent that does not say it.
_BUSIEST: Final = 1 << 30
#: How long an agent may take to say how busy it is; one that is slower counts as the busiest.
_ANSWER_S: Final = 2.0


async def select(directory: AgentDirectory, uids: Iterable[str]) -> ConnectedAgent:
    """Return the agent with the fewest jobs, then with the least load, then any, of those that are connected.

    RequestRefusedError if none of them is.
    """
    named = list(dict.fromkeys(uids))
    agents = [agent for uid in named if (agent := directory.table.agent(uid)) is not None]
    if not agents:
        raise not_connected(named)
    if len(agents) == 1:
        return agents[0]
    await asyncio.gather(*(_ask(agent) for agent in agents))
    open_agents = [agent for agent in agents if agent.is_open]
    if not open_agents:
        raise not_connected(named)
    return min(open_agents, key=lambda agent: (directory.busy(agent), agent.load, random.random()))


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
        agent.load = await _load(agent)


async def _load(agent: ConnectedAgent) -> float:
    """Return the load per CPU; 0 from an agent that does not know the method."""
    try:
        info: Any = await agent.call("host_info", timeout=_ANSWER_S)
    except (CallError, LinkClosedError):
        return 0.0
    load, cpus = (info.get("load"), info.get("cpus")) if isinstance(info, dict) else (None, None)
    if not isinstance(load, (int, float)) or not isinstance(cpus, (int, float)) or cpus <= 0:
        return 0.0
    return load / cpus
