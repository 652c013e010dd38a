"""A router with an apps listener and a job, and browsers made of plain requests."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pagent.agent import Agent
from pagent.config.model import ClientSettings, DialledRouter, Settings
from pagent.config.router import RouterApps, RouterSettings
from pagent.router import Router
from tests.access.conftest import JOB
from tests.kit.agents import TOKEN, running_agent
from tests.kit.routers import Answer, ask, connected, router_settings, running_router
from tests.web.v1.portal import Portal

FORM = [("Content-Type", "application/x-www-form-urlencoded")]


def apps_settings(**sections: Any) -> RouterSettings:
    return router_settings(**{"apps": RouterApps(enabled=True, paths=True), **sections})


@dataclass
class TicketSite:
    """A router, an agent, and two running jobs."""

    router: Router
    agent: Agent
    jobs: list[str] = field(default_factory=list)
    token: str | None = None
    others: list[Router] = field(default_factory=list)

    @property
    def portal(self) -> Portal:
        return Portal(self.router.control_port, self.token)

    async def make(self, job: str | None = None, **terms: Any) -> dict[str, Any]:
        """Make a ticket."""
        answer = await self.portal.ask("POST", f"/v1/jobs/{job or self.jobs[0]}/tickets", terms)
        assert answer.status == 201, answer
        made: dict[str, Any] = answer.json
        return made

    async def url(self, job: str | None = None, **terms: Any) -> str:
        """Make a ticket for one port, and return its address."""
        (url,) = (await self.make(job, **terms))["urls"].values()
        return str(url)

    async def start_job(self, **arguments: Any) -> str:
        """Start a job of the program of tests/access/conftest.py; return its uid."""
        link = await connected(self.router, self.agent.uid)
        uid: str = (await self.router.directory.create(link, "job"))["uid"]
        command = [sys.executable, "-c", arguments.pop("program", JOB), "{port}"]
        more = [f"{{port:{name}}}" for name in arguments.get("more_ports", ())]
        await link.call("job_start", uid, [*command, *more], {}, None, port="auto", ready="connect", **arguments)
        return uid


@asynccontextmanager
async def ticket_site(
    settings: Settings, router: RouterSettings | None = None, *, jobs: int = 1, others: Iterable[Router] = ()
) -> AsyncIterator[TicketSite]:
    """``others``: routers that the agent dials as well."""
    async with running_router(router or apps_settings()) as running:
        routers = [running, *others]
        addresses = tuple(DialledRouter(f"127.0.0.1:{each.server_port}") for each in routers)
        client = ClientSettings(enabled=True, address=addresses, token=TOKEN)
        async with running_agent(replace(settings, client=client)) as agent:
            for each in routers:
                await connected(each, agent.uid)
            site = TicketSite(running, agent, others=routers[1:])
            site.jobs = [await site.start_job() for _ in range(jobs)]
            yield site


@dataclass
class Person:
    """Follows an address of a ticket as a browser does. ``port``: where the router listens."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, url: str, headers: Iterable[tuple[str, str]] = (), method: str = "GET") -> Answer:
        """Ask for an address with the cookies."""
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        jar = [("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))] if self.cookies else []
        return await ask(self.port, method, target, b"", [*jar, *headers], host=parts.netloc)

    async def post(self, url: str, code: str | None = None) -> Answer:
        """Send the code, as the page of the address does."""
        parts = urlsplit(url)
        code = parse_qs(parts.query)["c"][0] if code is None else code
        answer = await ask(self.port, "POST", parts.path, f"c={code}", FORM, host=parts.netloc)
        if answer.status == 303:
            name, _, rest = (answer["Set-Cookie"] or "").partition("=")
            self.cookies[name] = rest.partition(";")[0]
        return answer
