"""The dashboard of an agent: it sees the jobs of all owners, and is the owner of none."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from pagent.agent import Agent
from pagent.cli.servers import dashboard as module
from pagent.cli.servers.agent_dashboard import agent_dashboard
from pagent.client import AgentClient, connect_agent
from pagent.config.model import (
    ClientSettings,
    ControlSettings,
    DashboardSettings,
    JobSettings,
    ServerSettings,
    Settings,
)
from pagent.router import Router
from tests.kit.agents import running_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import Answer, ask, connected, running_router

LOOP = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(600)"]


@dataclass
class Desk:
    """An agent with its dashboard, two owners of jobs that have dialled it, and a router that it has dialled."""

    agent: Agent
    router: Router
    ann: AgentClient
    bob: AgentClient
    dashboard: Router

    async def ask(self, method: str, target: str, body: str = "", *, token: bool = True) -> Answer:
        secret = self.dashboard.dashboard_secret
        fields = [("Content-Type", "application/json")]
        if token:
            fields.append(("Authorization", f"Bearer {secret}"))
        return await ask(self.dashboard.dashboard_port, method, target, body, fields)

    async def states(self) -> dict[str, str]:
        jobs = (await self.ask("GET", "/v1/jobs", token=False)).json["jobs"]
        return {job["name"]: job["state"] for job in jobs}

    async def until(self, states: dict[str, str]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.states() != states:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(running_router())
        client = ClientSettings(
            enabled=True, address=f"127.0.0.1:{router.server_port}", token="a-token-of-the-tests", reconnect_delay=0.1
        )
        settings = Settings(
            server=ServerSettings(accept_tokens=("ann", "bob")),
            client=client,
            jobs=JobSettings(root=tmp_path),
            dashboard=DashboardSettings(enabled=True),
        )
        agent = await stack.enter_async_context(running_agent(settings))
        dashboard = await stack.enter_async_context(agent_dashboard(agent, settings))
        ann, bob = [
            await stack.enter_async_context(connect_agent(f"127.0.0.1:{agent.rpc_port}", token=token))
            for token in ("ann", "bob")
        ]
        await connected(router, agent.uid)
        await connected(dashboard, agent.uid)
        yield Desk(agent, router, ann, bob, dashboard)


async def test_it_sees_the_jobs_of_all_owners(desk: Desk) -> None:
    for owner, name in ((desk.ann, "of-ann"), (desk.bob, "of-bob")):
        job = await owner.create_job(name)
        await job.start(LOOP, port_expected_count=0)
    created = await ask(
        desk.router.control_port,
        "POST",
        "/jobs/create",
        {"name": "of-router", "agent": {"type": "uid", "uid": desk.agent.uid}},
    )
    assert created.status == 200
    await desk.until({"of-ann": "RUNNING", "of-bob": "RUNNING", "of-router": "NEW"})
    assert [job.first_info["name"] for job in [*(await desk.ann.jobs())]] == ["of-ann"]


async def test_it_acts_on_them_with_the_token(desk: Desk) -> None:
    job = await desk.ann.create_job("of-ann")
    await job.start(LOOP, port_expected_count=0)
    await desk.until({"of-ann": "RUNNING"})
    path = f"/v1/jobs/{job.uid}"
    for method, target in (
        ("DELETE", path),
        ("POST", f"{path}/kill"),
        ("GET", f"{path}/logs"),
        ("GET", f"{path}/files"),
    ):
        assert (await desk.ask(method, target, "{}" if method == "POST" else "", token=False)).status == 401
    assert (await desk.ask("PUT", f"{path}/files/note", "hello")).status in (200, 201, 204)
    assert (await desk.ask("GET", f"{path}/files/note")).text == "hello"
    assert (await desk.ask("POST", f"{path}/kill", "{}")).status == 200
    await desk.until({"of-ann": "FINISHED"})
    assert (await desk.ask("GET", f"{path}/logs?stream=stdout")).status == 200
    assert (await desk.ask("DELETE", path)).status in (200, 204)
    await desk.until({})
    ended = (await desk.ask("GET", "/v1/jobs?ended=1", token=False)).json["jobs"]
    assert [each["name"] for each in ended] == ["of-ann"]


async def test_it_owns_none(desk: Desk) -> None:
    created = await desk.ask("POST", "/v1/jobs", f'{{"agent": "{desk.agent.uid}"}}')
    assert created.status == 409, created.text
    assert "owns no jobs" in created.text


async def test_it_says_how_a_job_is_opened(desk: Desk) -> None:
    job = await desk.ann.create_job("of-ann")
    command = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
    port = (await job.start(command, port="auto", ready="connect"))["port"]
    await desk.until({"of-ann": "RUNNING"})
    answer = await desk.ask("POST", f"/v1/jobs/{job.uid}/tickets", "{}")
    assert answer.status == 409
    assert f"http://127.0.0.1:{port}/" in answer.json["detail"]
    assert f"pagent forward --agent HOST:PORT {job.uid}" in answer.json["detail"]


async def test_jobs_end_with_their_owners_link_though_it_is_open(desk: Desk) -> None:
    async with connect_agent(f"127.0.0.1:{desk.agent.rpc_port}", token="ann") as other:
        job = await other.create_job("short")
        await job.start(LOOP, port_expected_count=0)
        await other.create_job("long", linger=600.0)
        await desk.until({"short": "RUNNING", "long": "NEW"})
    await desk.until({"long": "NEW"})


async def test_jobs_stay_with_their_owner_when_it_ends(desk: Desk) -> None:
    job = await desk.ann.create_job("of-ann")
    await desk.until({"of-ann": "NEW"})
    await desk.dashboard.stop()
    assert (await job.info())["state"] == "NEW"


async def test_it_is_no_link_of_a_router(desk: Desk) -> None:
    names = {link["peer"]["auth"]["name"] for link in desk.agent.links.show()}
    assert "dashboard" not in names
    assert len(desk.agent.links) == 3


async def test_only_its_own_secret_is_accepted_for_its_link(desk: Desk) -> None:
    links = [port for port in desk.agent.jobs.agent_ports if port not in _known(desk)]
    assert len(links) == 1
    for token in ("ann", "", "wrong", desk.dashboard.dashboard_secret or ""):
        with pytest.raises(Exception, match=r"token|refused"):
            async with connect_agent(f"127.0.0.1:{links[0]}", token=token):
                pass


def _known(desk: Desk) -> set[int]:
    agent = desk.agent
    return {agent.rpc_port, agent.control_port, agent.report_port, desk.dashboard.dashboard_port}


async def read(port: int, token: str) -> int:
    """The status of a request that reads with a token."""
    return (await ask(port, "GET", "/v1/jobs", headers=[("Authorization", f"Bearer {token}")])).status


async def test_tokens_of_control_are_valid_and_reading_needs_one(tmp_path: Path) -> None:
    settings = Settings(control=ControlSettings(token="secret"), dashboard=DashboardSettings(enabled=True))
    async with running_agent(settings) as agent, agent_dashboard(agent, settings) as router:
        port = router.dashboard_port
        assert (await ask(port, "GET", "/")).status == 200
        assert (await ask(port, "GET", "/v1/jobs")).status == 401
        assert await read(port, "secret") == 200
        renewed = Settings(control=ControlSettings(token="other"), dashboard=settings.dashboard)
        agent.reload(lambda: renewed)
        async with asyncio.timeout(PATIENCE_S):
            while (await read(port, "other")) != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await read(port, "secret") == 401


# --- what is printed --------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [True, False])
async def test_the_token_is_printed_on_a_terminal_only(
    terminal: bool, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    monkeypatch.setattr(module, "is_terminal", lambda fd: terminal)
    monkeypatch.setattr(module, "say", said.append)
    module.print_dashboard(desk.dashboard, DashboardSettings(enabled=True))
    address = f"http://127.0.0.1:{desk.dashboard.dashboard_port}/#token={desk.dashboard.dashboard_secret}"
    assert said == ([f"dashboard: {address}"] if terminal else [])
    assert (desk.dashboard.dashboard_secret or "") not in caplog.text
