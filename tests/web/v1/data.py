"""A job with files and output, and the client that asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from pagent.agent import Agent
from pagent.config.model import Settings
from pagent.config.router import RouterSettings
from pagent.router import Router
from tests.web.v1.portal import Portal, site


class Data(NamedTuple):
    """``job``: the job's path below /v1."""

    router: Router
    agent: Agent
    portal: Portal
    uid: str

    @property
    def job(self) -> str:
        return f"/v1/jobs/{self.uid}"

    async def start(self, script: str, **more: Any) -> None:
        """Start the job as a shell script."""
        payload = {"args": ["sh", "-c", script], "port_expected_count": 0, **more}
        answer = await self.portal.ask("POST", f"{self.job}/start", payload)
        assert answer.status == 200, answer


@asynccontextmanager
async def data_site(settings: Settings, router: RouterSettings | None = None) -> AsyncIterator[Data]:
    """A router, an agent, and a new job of it."""
    async with site(settings, router) as (running, agent):
        link = running.directory.table.agent(agent.uid)
        assert link is not None
        uid = (await running.directory.create(link, "data"))["uid"]
        yield Data(running, agent, Portal(running.control_port), uid)
