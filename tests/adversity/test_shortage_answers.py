"""Shortages of an agent and of a router, as clients of the router see them (docs/router.rst, "Shortages")."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.kit.agents import TOKEN, AgentProcess, agent_process, router_process
from tests.kit.peer import PATIENCE_S
from tests.kit.programs import ECHO
from tests.kit.routers import Answer, ask
from tests.kit.wire import wire

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit(2)")

#: Fewer descriptors than each process has open: it gets no further one, whatever it closes.
NONE_LEFT = 8
JSON = [("Content-Type", "application/json")]
BYTES = [("Content-Type", "application/octet-stream")]
UPGRADE = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]


ROUTER = ("identity.uid='ROUTER'", "ready_wait=0")


def options(*settings: str) -> list[str]:
    return [part for each in settings for part in ("--set", each)]


class Site(NamedTuple):
    router: AgentProcess
    agent: AgentProcess
    job: str  # that serves ECHO
    idle: str  # that was never started

    @property
    def port(self) -> int:
        return self.router.ports["control"]

    async def ask(self, method: str, target: str, body: Any = b"", headers: Any = ()) -> Answer:
        """Make a request whose target may name ``{job}`` and ``{idle}``."""
        if isinstance(body, dict):
            body, headers = json.dumps(body), [*headers, *JSON]
        target = target.replace("{job}", self.job).replace("{idle}", self.idle)
        return await ask(self.port, method, target, body, headers)

    async def is_echoed(self) -> bool:
        """Whether the job answers, on a new connection."""
        return (await self.ask("POST", "/jobs/-/{job}/http/", b"body")).body.endswith(b"\r\n\r\nbody")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(router_process(*options(*ROUTER)))
        address = f"client.address='127.0.0.1:{router.ports['server']}'"
        dials = options("client.enabled=True", f"client.token={TOKEN!r}", address, "client.reconnect_delay=0.5")
        agent = await stack.enter_async_context(agent_process(tmp_path, *dials))
        await router.says("is connected from")
        without_jobs = Site(router, agent, "", "")
        start = {"args": [sys.executable, "-c", ECHO, "{port}"], "port": "auto", "ready": "connect"}
        created = [
            (await without_jobs.ask("POST", "/v1/jobs", each)).json["uid"] for each in ({"start": start}, {"name": "i"})
        ]
        made = Site(router, agent, *created)
        assert (await made.ask("PUT", "/v1/jobs/{job}/files/file", b"content", BYTES)).status == 201
        yield made


@contextmanager
def limited(process: AgentProcess, kind: int = resource.RLIMIT_NOFILE, value: int = NONE_LEFT) -> Iterator[None]:
    before = resource.prlimit(process.process.pid, kind)
    resource.prlimit(process.process.pid, kind, (value, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.process.pid, kind, before)


#: Requests that need a descriptor at the agent.
REQUESTS: list[tuple[str, str, Any, Any]] = [
    ("POST", "/jobs/-/{job}/http/", b"body", ()),
    ("GET", "/jobs/-/{job}/http/", b"", UPGRADE),
    ("POST", "/jobs/-/{job}/wsconnect/", {"url": "ws://127.0.0.1:9/"}, ()),
    ("POST", "/jobs/create", {"name": "new", "agent": {"type": "select", "uids": []}}, ()),
    ("POST", "/jobs/-/{idle}/start", {"args": ["true"], "env": {}}, ()),
    ("POST", "/jobs/-/{job}/file/new", b"content", BYTES),
    ("GET", "/jobs/-/{job}/file/file", b"", ()),
    ("GET", "/jobs/-/{job}/archive", b"", ()),
    ("POST", "/v1/jobs", {"name": "new"}, ()),
    ("POST", "/v1/jobs", {"name": "new", "files": [{"path": "a", "text": "b"}], "start": {"args": ["true"]}}, ()),
    ("POST", "/v1/jobs/{idle}/start", {"args": ["true"]}, ()),
    ("PUT", "/v1/jobs/{job}/files/new", b"content", BYTES),
    ("GET", "/v1/jobs/{job}/files/file", b"", ()),
    ("DELETE", "/v1/jobs/{job}/files/file", b"", ()),
    ("GET", "/v1/jobs/{job}/files", b"", ()),
    ("GET", "/v1/jobs/{job}/archive", b"", ()),
    ("GET", "/v1/jobs/{job}/logs", b"", ()),
    ("GET", "/v1/jobs/{job}/exec?arg=true", b"", UPGRADE),
    ("GET", "/v1/jobs/{job}/exec?arg=true&tty=1", b"", UPGRADE),
]


async def test_an_agent_without_descriptors(site: Site) -> None:
    with limited(site.agent):
        for method, target, body, headers in REQUESTS:
            if "select" in str(body):
                body["agent"]["uids"] = [site.agent.uid]
            answer = await site.ask(method, target, body, headers)
            assert (answer.status, answer["Retry-After"]) == (503, "2"), (method, target, answer)
            assert "the agent is short of file descriptors (Too many open files)" in answer.text, (method, target)
            if target.startswith("/v1/"):
                assert answer["Content-Type"] == "application/problem+json"
                assert answer.json["status"] == 503
        info = await site.ask("GET", "/v1/jobs/{job}")
        assert info.json["state"] == "RUNNING"
    # Nothing is lost, and nothing is left of failed requests.
    assert await site.is_echoed()
    assert (await site.ask("GET", "/v1/jobs/{job}/files/file")).body == b"content"
    assert (await site.ask("GET", "/v1/jobs/{job}")).json["pid"] == info.json["pid"]
    assert {job["uid"] for job in (await site.ask("GET", "/v1/jobs")).json["jobs"]} == {site.job, site.idle}
    assert (await site.ask("POST", "/v1/jobs/{idle}/start", {"args": ["true"], "port_expected_count": 0})).status == 200


async def test_an_agent_dials_again_once_it_has_descriptors(site: Site) -> None:
    """The router is killed while the agent has no descriptor for another link."""
    pid = (await site.ask("GET", "/v1/jobs/{job}")).json["pid"]
    async with AsyncExitStack() as stack:
        with limited(site.agent):
            site.router.signal(signal.SIGKILL)
            await site.router.ended()
            await site.agent.says("Too many open files; dialling again")
            ports = [f"{name}.port={site.router.ports[name]}" for name in ("server", "control")]
            router = await stack.enter_async_context(router_process(*options(*ports, *ROUTER)))
        await router.says("is connected from")
        async with asyncio.timeout(PATIENCE_S):
            while (answer := await site.ask("GET", "/v1/jobs/{job}")).status == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert answer.json["pid"] == pid
        assert await site.is_echoed()


async def test_a_router_without_descriptors(site: Site) -> None:
    address = {"type": "address", "address": f"127.0.0.1:{site.agent.ports['rpc']}", "token": TOKEN}
    named = {**address, "address": address["address"].replace("127.0.0.1", "localhost")}
    async with AsyncExitStack() as stack:
        kept = [await stack.enter_async_context(wire(site.port)) for _ in range(3)]
        for client in kept:
            assert (await client.ask(b"GET /jobs/-/0/http/ HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 404
        waiting = []
        with limited(site.router):
            for client, agent in zip(kept, (address, named), strict=False):
                body = json.dumps({"name": "new", "agent": agent}).encode()
                head = b"POST /jobs/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                answer = await client.ask(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                assert answer.status == 503, answer
                assert dict(answer.fields)["Retry-After"] == "2"
                assert b"the router is short of file descriptors" in answer.body
            waiting = [await stack.enter_async_context(wire(site.port)) for _ in range(5)]
            for client in waiting:
                client.say(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await site.router.says("no connection can be accepted: Too many open files")
        for client in waiting:
            assert (await client.answer()).status == 200
    assert await site.is_echoed()
