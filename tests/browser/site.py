"""A router with a dashboard and one agent, and jobs that are created through it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from pagent.agent import Agent
from pagent.config.model import ClientSettings, DashboardSettings, JobSettings, ServerSettings, Settings
from pagent.config.router import RouterControl
from pagent.router import Router
from tests.kit.agents import TOKEN, running_agent
from tests.kit.browser import Browser, Page
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import Answer, ask, connected, router_settings, running_router
from tests.kit.transfers import eventually

#: Requests for jobs that are under way at a time.
_AT_ONCE = 8
ENDLESS = "import time; print('ready', flush=True); time.sleep(600)"


class DashboardSite(NamedTuple):
    """A running router and its agent."""

    router: Router
    agent: Agent

    @property
    def port(self) -> int:
        return self.router.dashboard_port

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return self.router.dashboard_secret or "a-token"

    @staticmethod
    def hash(*parts: str) -> str:
        """The fragment of the address of a view."""
        return f"#/{'/'.join(quote(part, safe='') for part in parts)}"

    async def ask(self, method: str, path: str, body: bytes | dict[str, Any] = b"") -> Answer:
        """Make a request to the API with the token."""
        fields = [("Authorization", f"Bearer {self.token}")]
        if isinstance(body, dict):
            fields.append(("Content-Type", "application/json"))
        return await ask(self.port, method, f"/v1/{path}", body, fields)

    async def create(self, name: str, program: str | None = ENDLESS, *, listens: bool = False, **more: Any) -> str:
        """Create a job, start it as a Python program unless that is None, and return its uid.

        ``listens``: it gets a port in PORT, and is waited for.
        """
        body: dict[str, Any] = {"name": name, **more}
        if program is not None:
            args = [sys.executable, "-uc", program]
            ports = {"port": "auto", "ready": "connect"} if listens else {"port_expected_count": 0}
            # Shells of its terminal read no files of the person that runs the tests.
            body["start"] = {"args": args, "env": {"HOME": "/", "SHELL": "/bin/bash"}, **ports}
        answer = await self.ask("POST", "jobs", body)
        assert answer.status == 201, answer
        uid: str = answer.json["uid"]
        return uid

    async def create_many(self, names: Sequence[str], program: str | None = None) -> list[str]:
        """Create jobs, a few at a time."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def create(name: str) -> str:
            async with limit:
                return await self.create(name, program)

        return list(await asyncio.gather(*map(create, names)))

    def folder(self, uid: str) -> Path:
        """The folder of a job."""
        (path,) = [job.sandbox.path for job in self.agent.jobs.jobs() if job.uid == uid]
        return Path(path)

    async def keep_part(self, uid: str, path: str, data: bytes) -> int:
        """Cut off an upload after some bytes; return how many of them the agent has kept."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"PUT /v1/jobs/{uid}/files/{quote(path)}?partial=1 HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        head += f"Authorization: Bearer {self.token}\r\nContent-Length: {len(data) + 1}\r\n\r\n"
        writer.write(head.encode() + data)
        await writer.drain()
        await eventually(lambda: [*self.folder(uid).glob(".pagent-upload-*")])
        writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while not (kept := await self._kept(uid, path)):
                pass
        return kept

    async def _kept(self, uid: str, path: str) -> int:
        answer = await self.ask("HEAD", f"jobs/{uid}/files/{quote(path)}?partial=1")
        return int(answer["X-Pagent-Offset"] or 0)

    async def open(self, browser: Browser, *parts: str, token: bool = True, origin: str = "") -> Page:
        """Open a view, and wait until the page is connected."""
        origin = origin or self.origin
        page = await browser.open(f"{origin}/#token={self.token}" if token else origin)
        await is_live(page)
        if parts:
            await page.run(f"location.hash = {self.hash(*parts)!r}")
        return page


async def is_live(page: Page) -> None:
    """Wait until a page is connected."""
    await page.until("return document.getElementById('link-state')?.dataset.state === 'live'")


@asynccontextmanager
async def dashboard_site(
    folder: Path, *, port: int = 0, token_file: Path | None = None, traffic: bool = False, **sections: Any
) -> AsyncIterator[DashboardSite]:
    """A router and an agent, with the folders of jobs below ``folder``. ``traffic``: the router listens for it, too.
    ``sections``: of the router's settings.
    """
    dashboard = DashboardSettings(enabled=True, port=port, token_file=token_file)
    settings = router_settings(dashboard=dashboard, control=RouterControl(enabled=traffic), **sections)
    agent = Settings(
        server=ServerSettings(enabled=False),
        jobs=JobSettings(root=folder),
    )
    async with running_router(settings) as router:
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN)
        async with running_agent(replace(agent, client=client)) as running:
            await connected(router, running.uid)
            yield DashboardSite(router, running)
