"""Jobs on an agent whose router, link or process is lost, as clients find them when it is back.

docs/router.rst, "Jobs that outlive the router". Router, agent, jobs and sockets are real.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from pagent.client import connect_agent
from pagent.jobs.given_ports import free_port
from tests.kit.agents import TOKEN, AgentProcess, agent_process, router_process
from tests.kit.peer import PATIENCE_S
from tests.kit.relay import Relay, relay
from tests.kit.routers import Answer, ask

#: Echoes messages; says so in its output.
ECHO = """
import asyncio, os, urllib.request
from websockets.asyncio.server import serve

async def echo(socket):
    async for message in socket:
        await socket.send(message)

async def main():
    async with serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        url, job = os.environ["DA__PAGENT__JOB_ENDPOINT"], os.environ["DA__PAGENT__JOB_ID"]
        await asyncio.to_thread(lambda: urllib.request.urlopen(f"{url}?job_id={job}&port={port}").read())
        print("ready", flush=True)
        await server.serve_forever()

asyncio.run(main())
"""

SOCKETS = 20


class Site:
    """A router that is started again and again at the same ports, with a relay before its listener of agents."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.server = free_port()
        self.control = free_port(lambda port: port != self.server)
        self.router: AgentProcess | None = None

    async def start(self) -> None:
        sets = {"identity.uid": "ROUTER", "server.port": self.server, "control.port": self.control}
        self.router = await self._stack.enter_async_context(router_process(*options(sets)))

    async def end(self, how: signal.Signals) -> None:
        assert self.router is not None
        self.router.signal(how)
        await self.router.ended()

    async def answer(self, method: str, target: str, body: Any = b"") -> Answer:
        """Ask until the answer is not that there is one soon."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await ask(self.control, method, target, body)
                if answer.status != 503:
                    return answer
                assert answer["Retry-After"] is not None
                await asyncio.sleep(0.05)

    async def agent_is_connected(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not (await ask(self.control, "GET", "/connections")).json["connections"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def job(self) -> dict[str, Any]:
        created = await self.answer("POST", "/jobs/create", {"name": "job", "agent": {"type": "uid", "uid": "AGENT"}})
        start = {"args": [sys.executable, "-c", ECHO], "env": {}}
        started = await self.answer("POST", f"{created.json['path']}/start", start)
        assert started.status == 200, started.text
        info: dict[str, Any] = started.json
        return info

    async def sockets(self, path: str, count: int) -> list[ClientConnection]:
        """Open WebSockets to a job, and check that they echo."""
        url = f"ws://127.0.0.1:{self.control}{path}/http/"
        sockets = await asyncio.gather(*(websockets.connect(url) for _ in range(count)))
        await asyncio.gather(*(echoes(socket, str(number)) for number, socket in enumerate(sockets)))
        return sockets


async def echoes(socket: ClientConnection, text: str) -> None:
    await socket.send(text)
    async with asyncio.timeout(PATIENCE_S):
        assert await socket.recv() == text


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[tuple[Site, Relay]]:
    """A router, and an agent that dials it through a relay."""
    async with AsyncExitStack() as stack:
        made = Site(stack)
        await made.start()
        between = await stack.enter_async_context(relay(made.server))
        await stack.enter_async_context(agent(between.port, folder))
        await made.agent_is_connected()
        yield made, between


def agent(port: int, folder: Path) -> AbstractAsyncContextManager[AgentProcess]:
    """An agent that dials a router."""
    sets = {
        "identity.uid": "AGENT",
        "client.enabled": True,
        "client.address": f"127.0.0.1:{port}",
        "client.token": TOKEN,
        "client.reconnect_delay": 0.5,
    }
    return agent_process(folder, *options(sets))


def options(sets: dict[str, Any]) -> list[str]:
    return [text for key, value in sets.items() for text in ("--set", f"{key}={value!r}")]


async def closed(sockets: list[ClientConnection]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(socket.wait_closed() for socket in sockets))


async def logged(site: Site, job_uid: str) -> bytes:
    """Return the output of a job, as a client of the router reads it."""
    async with connect_agent(f"127.0.0.1:{site.control}", token="any") as client:
        return b"".join([piece async for piece in (await client.job(job_uid)).logs()])


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
async def test_jobs_survive_the_end_of_the_router(how: signal.Signals, tmp_path: Path) -> None:
    async with site(tmp_path) as (router, _):
        before = await router.job()
        sockets = await router.sockets(before["path"], SOCKETS)
        await router.end(how)
        await closed(sockets)
        await router.start()
        for path in (before["path"], f"/jobs/-/{before['uid']}"):
            after = (await router.answer("GET", f"{path}/info")).json
            assert {**after, "path": None} == {**before, "path": None} | volatile(after)
            await closing(await router.sockets(path, SOCKETS))
        assert await logged(router, before["uid"]) == b"ready\n"
        assert (await router.answer("POST", f"{before['path']}/remove")).status == 200
        assert (await router.answer("GET", f"{before['path']}/info")).status == 404


def volatile(info: dict[str, Any]) -> dict[str, Any]:
    """The part of an info that may change at any time."""
    names = ("cpu_seconds", "rss_bytes", "open_streams", "last_request_at", "last_input_at")
    return {name: info[name] for name in names if name in info}


async def closing(sockets: list[ClientConnection]) -> None:
    for socket in sockets:
        await socket.close()


async def test_jobs_survive_a_lost_link(tmp_path: Path) -> None:
    async with site(tmp_path) as (router, between):
        before = await router.job()
        sockets = await router.sockets(before["path"], SOCKETS)
        between.cut()
        await closed(sockets)
        after = (await router.answer("GET", f"{before['path']}/info")).json
        assert after["pid"] == before["pid"]
        assert after["path"] != before["path"]
        for path in (before["path"], after["path"]):
            await closing(await router.sockets(path, SOCKETS))
        assert await logged(router, before["uid"]) == b"ready\n"


@pytest.mark.slow
async def test_the_successor_of_an_agent_that_is_stopped(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    async with AsyncExitStack() as stack:
        router = Site(stack)
        await router.start()
        first = await stack.enter_async_context(agent(router.server, folders[0]))
        await router.agent_is_connected()
        lost = await router.job()
        first.signal(signal.SIGSTOP)
        await stack.enter_async_context(agent(router.server, folders[1]))
        async with asyncio.timeout(PATIENCE_S):
            while lost["path"].split("/")[2] in (await ask(router.control, "GET", "/connections")).text:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await router.agent_is_connected()
        job = await router.job()
        assert (await router.answer("GET", f"/jobs/-/{lost['uid']}/info")).status == 404
        first.signal(signal.SIGCONT)
        assert router.router is not None
        await router.router.says("agent.conflict: another agent with the uid 'AGENT' is connected")
        await closing(await router.sockets(job["path"], 1))
