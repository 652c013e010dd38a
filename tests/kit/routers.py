"""Routers to test, and plain HTTP requests to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pagent.agent import Agent
from pagent.config.model import ClientSettings, IdentitySettings, JobSettings, ServerSettings, Settings
from pagent.config.router import AcceptedToken, RouterIdentity, RouterServer, RouterSettings
from pagent.relay.agent import ConnectedAgent
from pagent.router import Router
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S

UID = "ROUTER"


def router_settings(**sections: Any) -> RouterSettings:
    """Settings of a router that agents with TOKEN dial."""
    defaults = {
        "identity": RouterIdentity(uid=UID),
        "server": RouterServer(accept_tokens=(AcceptedToken(TOKEN),)),
        "ready_wait": 0.0,
    }
    return RouterSettings(**{**defaults, **sections})


@asynccontextmanager
async def running_router(settings: RouterSettings | None = None) -> AsyncIterator[Router]:
    """A router in this loop."""
    router = Router(settings or router_settings())
    try:
        await router.start()
        yield router
    finally:
        router.end(0)
        router.end(0)  # without a grace period for the connections that a test leaves
        await router.stop()


@asynccontextmanager
async def agent_of(router: Router, root: Path, uid: str = "A") -> AsyncIterator[Agent]:
    """An agent in this loop that has dialled a router."""
    settings = Settings(
        identity=IdentitySettings(uid=uid),
        server=ServerSettings(enabled=False),
        client=ClientSettings(enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN),
        jobs=JobSettings(root=root),
    )
    async with running_agent(settings) as agent:
        await connected(router, uid)
        yield agent


async def connected(router: Router, uid: str, *, other_than: ConnectedAgent | None = None) -> ConnectedAgent:
    """Wait until an agent has dialled in."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            links = [link for link in router.directory.table if link.uid == uid and link is not other_than]
            if links:
                return links[-1]
            await asyncio.sleep(0.01)


async def disconnected(router: Router) -> None:
    """Wait until no agent has a link."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if not len(router.directory.table):
                return
            await asyncio.sleep(0.01)


@dataclass
class Answer:
    """An answer of a router. ``fields`` in their order and spelling."""

    status: int
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def __getitem__(self, name: str) -> str | None:
        """The value of a field; None without one. AssertionError if there are several."""
        values = [value for each, value in self.fields if each.lower() == name.lower()]
        assert len(values) <= 1, values
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


async def ask(
    port: int,
    method: str,
    target: str,
    body: bytes | str | dict[str, Any] = b"",
    headers: Iterable[tuple[str, str]] = (),
    *,
    host: str | None = None,
) -> Answer:
    """Make one request on a new connection, and read the answer to the end of the connection."""
    if isinstance(body, dict):
        body = json.dumps(body)
    data = body.encode() if isinstance(body, str) else body
    fields = [("Host", host or f"127.0.0.1:{port}"), *headers]
    names = {name.lower() for name, _ in fields}
    if not names & {"connection"}:
        fields.append(("Connection", "close"))
    if data and not names & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(data))))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + data)
        async with asyncio.timeout(PATIENCE_S):
            return await _answer(reader, method)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, method: str) -> Answer:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    answer = Answer(int(lines[0].split()[1]), fields)
    if answer.status == 101:
        answer.body = await reader.read(64)
    elif method != "HEAD":
        length = answer["Content-Length"]
        answer.body = await (reader.read() if length is None else reader.readexactly(int(length)))
        if answer["Transfer-Encoding"] == "chunked":
            answer.body = _unchunked(answer.body)
    return answer


def _unchunked(data: bytes) -> bytes:
    parts = []
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(parts)
        parts.append(data[:length])
        data = data[length + 2 :]
