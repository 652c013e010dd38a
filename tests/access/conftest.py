"""A closed router with an agent in the test's loop, and tokens of many kinds."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.config.router import Access, AccessHeader, AccessQuota, AccessToken, RouterControl, RouterSettings
from pagent.router import Router
from tests.kit.routers import Answer, agent_of, ask, connected, router_settings, running_router

#: A job: it answers a request with its head, an upgrade with an echo, and /endless without an end.
JOB = """
import asyncio, sys
async def serve(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    if b"upgrade: echo" in head.lower():
        writer.write(b"HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n")
        while data := await reader.read(1000):
            writer.write(data)
    elif b"/endless" in head:
        writer.write(b"HTTP/1.1 200 OK\\r\\n\\r\\nbegun")
        await reader.read()
    else:
        writer.write(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(head) + head)
    await writer.drain()
    writer.close()
async def main():
    await (await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))).serve_forever()
asyncio.run(main())
"""

#: All scopes but admin, for own jobs.
OWN = ("read", "jobs", "proxy", "files", "logs", "exec")
HEADER = "X-Forwarded-User"


def token(name: str, *scopes: str, **more: Any) -> AccessToken:
    """A token whose secret is ``secret-NAME``."""
    return AccessToken(name, hashlib.sha256(f"secret-{name}".encode()).hexdigest(), scopes, **more)


TOKENS = (
    token("ann", *OWN),
    token("bob", *OWN),
    token("root", *(f"{scope}!any" for scope in (*OWN, "admin"))),
    token("reader", "read!any"),
    token("none"),
    token("limited", *OWN, quota=AccessQuota(jobs=1, jobs_per_minute=3, streams=1)),
    token("elsewhere", *(f"{scope}!agent=B" for scope in OWN)),
    token("here", *(f"{scope}!agent=A" for scope in OWN)),
    *(token(f"any-{scope}", f"{scope}!any") for scope in (*OWN, "admin")),
    *(token(f"own-{scope}", scope) for scope in (*OWN, "admin")),
)


def bearer(name: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer secret-{name}")]


def for_jobs(name: str) -> list[tuple[str, str]]:
    return [("X-Pagent-Token", f"secret-{name}")]


def closed_settings(*tokens: AccessToken, **access: Any) -> RouterSettings:
    control = RouterControl(trusted_proxies=("127.0.0.7",))
    return router_settings(control=control, access=Access(tokens=tokens or TOKENS, **access))


@dataclass
class Closed:
    """A closed router, its agent A, and a server job of Ann."""

    router: Router
    agent: Agent
    job: str = ""
    settings: RouterSettings = field(default_factory=RouterSettings)

    @property
    def port(self) -> int:
        return self.router.control_port

    async def api(
        self,
        name: str | None,
        method: str,
        target: str,
        body: Any = b"",
        headers: Iterable[tuple[str, str]] = (),
    ) -> Answer:
        """Ask the API with a token."""
        return await ask(self.port, method, target, body, [*headers, *([] if name is None else bearer(name))])

    async def create(self, name: str, job: str = "job") -> str:
        """Create a job with a token; return its uid."""
        answer = await self.api(name, "POST", "/jobs/create", {"name": job, "agent": {"type": "uid", "uid": "A"}})
        assert answer.status == 200, answer
        uid: str = answer.json["uid"]
        return uid


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Closed]:
    settings = closed_settings(header=AccessHeader(HEADER, OWN))
    async with running_router(settings) as router, agent_of(router, tmp_path) as agent:
        found = Closed(router, agent, settings=settings)
        found.job = await found.create("ann")
        link = await connected(router, "A")
        command = [sys.executable, "-c", JOB, "{port}"]
        await link.call("job_start", found.job, command, {}, None, port="auto", ready="connect")
        yield found
