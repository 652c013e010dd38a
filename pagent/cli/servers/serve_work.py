"""The work of ``pagent serve``: an agent, with its dashboard if that is enabled."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from pagent.agent import Agent
from pagent.config.joining import JoinData
from pagent.config.model import Settings
from pagent.runtime.signals import end_signals


async def run_agent(
    settings: Settings,
    *,
    connection_debug: bool = False,
    reread: Callable[[], Settings] | None = None,
    join: JoinData | None = None,
) -> int:
    """Run an agent until a signal, ``POST /shutdown``, or the loss of a link that was not to be lost.

    Returns the exit code. The first SIGTERM or SIGINT ends the jobs gracefully, the second at once. SIGHUP makes the
    agent take over the settings that ``reread`` returns; without ``reread`` it ends it. ``join``: as of :class:`Agent`.
    """
    agent = Agent(settings, connection_debug=connection_debug, environ=os.environ, join=join)
    with end_signals(lambda: agent.end(0), hangup=None if reread is None else partial(agent.reload, reread)):
        async with AsyncExitStack() as stack:
            stack.push_async_callback(agent.stop)
            await agent.start()
            if settings.dashboard.enabled:
                # Imported here because a router imports many modules.
                from pagent.cli.servers.agent_dashboard import agent_dashboard

                await stack.enter_async_context(agent_dashboard(agent, settings))
            return await agent.wait()
