"""Answers whose end is that of their connection: one that breaks off is never seen as complete (RFC 9112 section 8)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pagent.agent import Agent
from pagent.relay.agent import ConnectedAgent
from pagent.router import Router
from tests.kit.programs import serving
from tests.kit.routers import agent_of, connected, running_router
from tests.kit.wire import Wire, wire

#: Its answers have neither a length nor chunks. That to /stream has no end. The program exits after those to /whole and
#: /failing, and with code 0 on TERM.
JOB = serving(r"""
import signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

async def serve(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    path = head.split(b" ")[1]
    if path == b"/tunnel":
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: mine\r\n\r\n")
        if await reader.read(1) == b"!":  # otherwise until it is killed
            writer.write(b"the end")
            writer.close()
        return
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: first\n\n")
    await writer.drain()
    if path == b"/stream":
        await asyncio.sleep(600)
    writer.write(b"data: last\n\n")
    writer.close()
    await writer.wait_closed()
    if path == b"/whole":
        os._exit(0)
    if path == b"/failing":
        os._exit(1)
""")


class Way(NamedTuple):
    router: Router
    agent: Agent
    link: ConnectedAgent
    job: str
    pid: int

    def request(self, path: str, version: str) -> bytes:
        return f"GET /jobs/-/{self.job}/http{path} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode()


@pytest.fixture
async def way(tmp_path: Path) -> AsyncIterator[Way]:
    async with running_router() as router, agent_of(router, tmp_path) as agent:
        link = await connected(router, "A")
        job = (await router.directory.create(link, "test"))["uid"]
        command = [sys.executable, "-c", JOB, "{port}"]
        with router.directory.starting(job):
            info = await link.call("job_start", job, command, {}, port="auto", ready="connect")
        yield Way(router, agent, link, job, info["pid"])


async def by_a_kill(way: Way) -> None:
    """End the job with TERM: it exits with code 0."""
    await way.link.call("job_kill", way.job, "TERM")


async def by_its_removal(way: Way) -> None:
    await way.link.call("job_remove", way.job)


async def by_a_signal(way: Way) -> None:
    """Kill the job, as the kernel does that is out of memory: the agent has no part in it."""
    os.kill(way.pid, signal.SIGKILL)


async def by_the_agent(way: Way) -> None:
    way.agent.end(0)
    await way.agent.stop()


async def by_its_link(way: Way) -> None:
    way.link.connection.link.abort("a test")


async def by_the_router(way: Way) -> None:
    way.router.end(0)
    way.router.end(0)
    await way.router.stop()


ENDS: list[Callable[[Way], Awaitable[None]]] = [
    by_a_kill,
    by_its_removal,
    by_a_signal,
    by_the_agent,
    by_its_link,
    by_the_router,
]


async def is_cut(client: Wire, version: str) -> bool:
    """Read to the end, and return whether the client can know that the answer is not complete."""
    try:
        rest = await client.rest()
    except ConnectionResetError:
        return True
    return version == "1.1" and not rest.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("end", ENDS)
async def test_an_answer_that_breaks_off(way: Way, end: Callable[[Way], Awaitable[None]], version: str) -> None:
    async with wire(way.router.control_port) as client:
        client.say(way.request("/stream", version))
        async with asyncio.timeout(60):
            await client.reader.readuntil(b"data: first\n\n")
        await end(way)
        assert await is_cut(client, version)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("path", ["/closed", "/whole"])
async def test_an_answer_that_is_complete(way: Way, path: str, version: str) -> None:
    """The job still runs, or has answered its last request and exits with code 0."""
    async with wire(way.router.control_port) as client:
        client.say(way.request(path, version))
        if version == "1.1":
            assert (await client.answer()).body == b"data: first\n\ndata: last\n\n"
        else:
            assert (await client.rest()).endswith(b"data: first\n\ndata: last\n\n")


async def test_an_answer_before_the_program_fails(way: Way) -> None:
    async with wire(way.router.control_port) as client:
        client.say(way.request("/failing", "1.1"))
        assert await is_cut(client, "1.1")


async def test_an_answer_whose_client_ends_its_direction_within_the_body(way: Way) -> None:
    async with wire(way.router.control_port) as client:
        client.say(way.request("/stream", "1.0")[:-2] + b"Content-Length: 10\r\n\r\npart")
        async with asyncio.timeout(60):
            await client.reader.readuntil(b"data: first\n\n")
        client.end()
        assert await is_cut(client, "1.0")


async def tunnel(way: Way, client: Wire) -> None:
    client.say(way.request("/tunnel", "1.1")[:-2] + b"Connection: Upgrade\r\nUpgrade: mine\r\n\r\n")
    assert (await client.head())[0] == 101


async def test_a_tunnel_that_breaks(way: Way) -> None:
    async with wire(way.router.control_port) as client:
        await tunnel(way, client)
        await by_its_link(way)
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_a_tunnel_that_ends(way: Way) -> None:
    async with wire(way.router.control_port) as client:
        await tunnel(way, client)
        client.say(b"!")
        client.end()
        assert await client.rest() == b"the end"


async def test_logs_for_an_old_client_that_break_off(way: Way) -> None:
    """The API has answers without a length as well."""
    async with wire(way.router.control_port) as client:
        client.say(f"GET /v1/jobs/{way.job}/logs?follow=1 HTTP/1.0\r\n\r\n".encode())
        async with asyncio.timeout(60):
            head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 ")
        assert b"Content-Length" not in head
        await by_its_link(way)
        assert await is_cut(client, "1.0")
