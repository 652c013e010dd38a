"""Every state of a request and every fault: nothing is lost, doubled or left over.

The engine is a script whose steps are files that the test makes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from unittest.mock import AsyncMock

import psutil
import pytest

from pagent.agent import Agent
from pagent.config.model import Settings
from pagent.config.router import Access, PoolSettings
from pagent.jobs.model import Job
from pagent.relay.agent import AgentKey
from pagent.relay.pools.engine import Engine
from pagent.relay.pools.notes import DELIVERED_NOTE, REMOVED_NOTE
from pagent.relay.watches import AgentWatches
from pagent.router import Router
from pagent.rpc.pool_job import PoolJob
from tests.kit.pools import HOST, JOIN, job, keys_in, pool_of, running_host, states
from tests.kit.routers import connected, router_settings, running_router
from tests.kit.transfers import eventually

pytestmark = pytest.mark.slow

#: It waits in the queue until there is a file "start", and starts until there is a file "join".
ENGINE: Final = """
until [ -e {folder}/start ]; do sleep 0.05; done
echo pagent: joining
until [ -e {folder}/join ]; do sleep 0.05; done
exec {join}
"""
#: The files that lead to a state.
STEPS: Final = {"requested": (), "queued": (), "starting": ("start",), "connected": ("start", "join")}


class Site:
    """A router that can be replaced, and the agent that runs the commands."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self.folder = folder
        script = ENGINE.replace("{folder}", str(folder)).replace("{join}", " ".join(JOIN))
        self._pools: dict[str, PoolSettings] = {"p": pool_of("sh", "-c", script, max=1)}
        self._keys = keys_in(folder)
        self._router = AsyncExitStack()
        self._host = AsyncExitStack()
        self._port = 0
        self.router: Router
        self.host: Agent

    async def start_router(self) -> None:
        await self._router.aclose()
        base = router_settings(access=Access(keys_file=self._keys), pools=self._pools)
        server = replace(base.server, port=self._port)
        self.router = await self._router.enter_async_context(running_router(replace(base, server=server)))
        self._port = self.router.server_port

    async def stop_router(self) -> None:
        await self._router.aclose()

    async def start_host(self) -> None:
        await self._host.aclose()
        self.host = await self._host.enter_async_context(running_host(self._settings, self._port))
        await connected(self.router, HOST)

    async def cut_links(self) -> None:
        for agent in self.router.directory.table:
            agent.connection.link.abort("cut by the test")

    async def kill_command(self) -> None:
        """Kill every process of the commands, and of agents."""
        for each in self.host.jobs.jobs():
            with suppress(Exception):
                await self.host.jobs.kill(each, "KILL", 0.0)

    def step(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()

    async def close(self) -> None:
        await self._host.aclose()
        await self._router.aclose()


@asynccontextmanager
async def running_site(settings: Settings, folder: Path) -> AsyncIterator[Site]:
    site = Site(settings, folder)
    try:
        await site.start_router()
        await site.start_host()
        yield site
    finally:
        await site.close()


def state_of(site: Site, uid: str) -> str | None:
    record = site.router.directory.jobs.get(uid)
    return None if record is None else record.state


def agents(host: Agent) -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.cmdline()[1:] == [*JOIN[1:]]:
                found.append(process)
    return found


#: What becomes of the job: it runs, or it has failed, which is reported.
CASES: Final = [
    *((state, "router", "RUNNING") for state in STEPS),
    *((state, "links", "RUNNING") for state in STEPS),
    ("requested", "host", "RUNNING"),
    *((state, "host", "FINISHED") for state in ("queued", "starting", "connected")),
    *((state, "command", "FINISHED") for state in ("queued", "starting", "connected")),
]


@pytest.mark.parametrize(("state", "fault", "result"), CASES)
async def test_a_fault(settings: Settings, tmp_path: Path, state: str, fault: str, result: str) -> None:
    async with running_site(settings, tmp_path) as site:
        wanted = job()
        blocker = job() if state == "requested" else None
        if blocker is not None:
            await site.router.pools.request("p", {}, blocker)
        await site.router.pools.request("p", {}, wanted)
        site.step(*STEPS[state])
        await eventually(lambda: states(site.router.pools)[-1] == state)
        if state == "connected":
            await eventually(lambda: state_of(site, wanted.uid) == "RUNNING")
        faults: dict[str, Callable[[], object]] = {
            "router": site.start_router,
            "links": site.cut_links,
            "host": site.start_host,
            "command": site.kill_command,
        }
        await faults[fault]()  # type: ignore[misc]
        await connected(site.router, HOST)
        site.step("start", "join")
        if blocker is not None:
            await eventually(lambda: state_of(site, blocker.uid) in ("RUNNING", "FINISHED"))
            if state_of(site, blocker.uid) == "RUNNING":
                await site.router.directory.remove(blocker.uid)
        await eventually(lambda: state_of(site, wanted.uid) == result)
        assert len(agents(site.host)) == (result == "RUNNING")
        if result == "FINISHED":
            record = site.router.directory.jobs.get(wanted.uid)
            assert record is not None
            assert record.info()["error"]
            await eventually(lambda: not site.router.pools.measures.active("p"))
            await site.start_router()  # the reason outlives the router
            await connected(site.router, HOST)
            if fault != "host":  # that agent has lost the command's job, where the reason is kept
                await eventually(lambda: state_of(site, wanted.uid) == "FINISHED")
                assert await site.router.pools.cancel(wanted.uid)
                await eventually(lambda: not site.host.jobs.jobs())


@pytest.mark.parametrize("state", STEPS)
@pytest.mark.parametrize("with_fault", [False, True])
async def test_a_cancellation(settings: Settings, tmp_path: Path, state: str, with_fault: bool) -> None:
    """With a router that ends at that moment."""
    async with running_site(settings, tmp_path) as site:
        wanted = job()
        if state == "requested":
            await site.router.pools.request("p", {}, blocker := job())
        await site.router.pools.request("p", {}, wanted)
        site.step(*STEPS[state])
        await eventually(lambda: states(site.router.pools)[-1] == state)
        if state == "connected":
            await eventually(lambda: state_of(site, wanted.uid) == "RUNNING")
            (command,) = site.host.jobs.jobs()
            await site.router.directory.remove(wanted.uid)
            await eventually(lambda: REMOVED_NOTE in command.notes)
            agent = next(agent for agent in site.router.directory.table if agent.uid != HOST)
            await agent.call("host_end", 0.5)
        else:
            assert await site.router.pools.cancel(wanted.uid)
        if with_fault:
            await site.start_router()
            await connected(site.router, HOST)
        if state == "requested":
            await eventually(lambda: site.router.directory.jobs.get(blocker.uid) is not None)
            assert await site.router.pools.cancel(blocker.uid)
        await eventually(lambda: not site.host.jobs.jobs() and state_of(site, wanted.uid) is None)
        assert not agents(site.host)


async def running_job(site: Site) -> tuple[PoolJob, Job]:
    """Return a job that runs on its agent, as the router has noted, and the job of the command."""
    wanted = job()
    await site.router.pools.request("p", {}, wanted)
    site.step("start", "join")
    await eventually(lambda: state_of(site, wanted.uid) == "RUNNING")
    (command,) = site.host.jobs.jobs()
    await eventually(lambda: DELIVERED_NOTE in command.notes)
    return wanted, command


async def test_a_router_that_is_killed_before_it_notes_a_removal(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent of the job comes back before the request is known: its list says that the job was removed."""
    async with running_site(settings, tmp_path) as site:
        wanted, command = await running_job(site)
        keep = AsyncMock()
        monkeypatch.setattr(Engine, "keep", keep)
        await site.router.directory.remove(wanted.uid)
        await eventually(lambda: keep.await_count > 0)
        await site.stop_router()
        monkeypatch.undo()
        assert REMOVED_NOTE not in command.notes
        until_listed = AgentWatches.until_listed

        async def until_both_are_listed(self: AgentWatches, keys: Iterable[AgentKey], most_s: float) -> bool:
            await eventually(lambda: sum(agent.is_watched for agent in site.router.directory.table) == 2)
            return await until_listed(self, keys, most_s)

        monkeypatch.setattr(AgentWatches, "until_listed", until_both_are_listed)
        await site.start_router()
        await eventually(lambda: REMOVED_NOTE in command.notes)
        await site.kill_command()
        await eventually(lambda: not site.host.jobs.jobs() and not agents(site.host))
        assert state_of(site, wanted.uid) is None


@pytest.mark.parametrize("is_removed", [False, True])
async def test_the_agent_ends_while_there_is_no_router(settings: Settings, tmp_path: Path, is_removed: bool) -> None:
    """The client of the job learns that, unless the job was removed before."""
    async with running_site(settings, tmp_path) as site:
        wanted, command = await running_job(site)
        if is_removed:
            await site.router.directory.remove(wanted.uid)
            await eventually(lambda: REMOVED_NOTE in command.notes)
        await site.stop_router()
        await site.kill_command()
        await site.start_router()
        await connected(site.router, HOST)
        if not is_removed:
            await eventually(lambda: state_of(site, wanted.uid) == "FINISHED")
            assert await site.router.pools.cancel(wanted.uid)
        await eventually(lambda: not site.host.jobs.jobs() and not agents(site.host))
        assert state_of(site, wanted.uid) is None
