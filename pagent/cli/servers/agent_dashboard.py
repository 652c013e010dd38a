"""The dashboard of an agent: a router in the agent's process that serves nothing else (docs/dashboard.rst)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pagent.agent import Agent
from pagent.cli.servers.dashboard import print_dashboard
from pagent.config.model import IsolationSettings, Settings
from pagent.config.router import RouterControl, RouterIdentity, RouterServer, RouterSettings
from pagent.net.dial import Address
from pagent.router import Router

_log = logging.getLogger(__name__)

#: Seconds that downloads may take when the agent ends: its jobs wait for them.
_DRAIN_S: Final = 1.0


@asynccontextmanager
async def agent_dashboard(agent: Agent, settings: Settings) -> AsyncIterator[Router]:
    """Serve the dashboard of an agent while the block runs, and yield its router. ConfigError."""
    router = Router(_settings(agent, settings), dashboard_tokens=lambda: agent.control_tokens)
    secret = secrets.token_hex(16)
    try:
        port = await agent.listen_for_operator(secret)
        await router.start()
        agent.jobs.agent_ports.add(router.dashboard_port)
        router.keep_link(Address("127.0.0.1", port), lambda: secret)
        agent.when_renewed(lambda renewed: router.reload(lambda: _settings(agent, renewed)))
        if settings.jobs.isolation != IsolationSettings() and not agent.control_tokens:
            _log.warning(
                "jobs.isolation is set, but jobs can read the dashboard, which shows all jobs: set control.token_file"
            )
        print_dashboard(router, settings.dashboard)
        yield router
    finally:
        router.end(0)
        await router.stop()


def _settings(agent: Agent, settings: Settings) -> RouterSettings:
    """Return the settings of a router for the dashboard alone.

    It accepts no agents, and has no clients of its own whose jobs it would end.
    """
    return RouterSettings(
        identity=RouterIdentity(name="dashboard", uid=f"{agent.uid}-dashboard"),
        server=RouterServer(enabled=False),
        control=RouterControl(enabled=False, allowed_hosts=settings.control.allowed_hosts, drain_s=_DRAIN_S),
        dashboard=settings.dashboard,
        log_level=settings.log_level,
    )
