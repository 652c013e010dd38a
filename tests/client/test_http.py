"""HTTP requests of the client: when a body is sent, and raw requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagent.client import RemoteJob
from pagent.client.http import framed
from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import slow_with_a_router
from tests.service.test_proxy_raw import SERVER

HEAD = """
import asyncio, sys
async def serve(reader, writer):  # responds to the head without reading the body
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(head) + head)
    await writer.drain()
    await reader.read()
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""


async def started(job: RemoteJob, script: str) -> RemoteJob:
    await job.start(["python3", "-c", script, "{port}"], port="auto", ready="connect")
    return job


@pytest.fixture
async def server(job: RemoteJob) -> RemoteJob:
    return await started(job, SERVER)


@pytest.mark.parametrize("raw", [False, True])
async def test_a_body_of_unknown_length_is_announced_before_its_first_byte(job: RemoteJob, raw: bool) -> None:
    """Otherwise a job that responds first and the client wait for each other."""
    await started(job, HEAD)
    answered = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        await answered.wait()
        yield b"x"

    async with asyncio.timeout(PATIENCE_S), job.open_http("POST", "/", body=body(), raw=raw) as response:
        head = await response.read()
        answered.set()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in head


async def empty() -> AsyncIterator[bytes]:
    return
    yield b""


def test_the_field_that_announces_a_body() -> None:
    chunked, length = ["Transfer-Encoding", "chunked"], ["content-length", "5"]
    assert framed([], empty()) == [chunked]
    assert framed([length], empty()) == [length]
    assert framed([chunked], b"x") == [chunked]
    assert framed([], b"xyz") == [["Content-Length", "3"]]
    assert framed([], b"") == []


async def test_interim_responses_and_trailers(server: RemoteJob) -> None:
    async with server.open_http("GET", "/interim", raw=True) as response:
        assert (response.status, response.interim) == (200, [(102, []), (103, [["link", "y"]]), (104, [])])
        assert await response.read() == b"hi"
    assert (await server.http("GET", "/interim")).body == b"hi"


@pytest.mark.parametrize("path", ["/expect", "/silent-expect"])
async def test_a_body_waits_for_the_100_for_a_limited_time(server: RemoteJob, path: str) -> None:
    async with server.open_http("POST", path, headers=[("Expect", "100-continue")], body=b"abc", raw=True) as response:
        assert (response.status, await response.read()) == (200, b"ABC")


async def test_an_unwanted_body_is_not_sent(server: RemoteJob) -> None:
    asked = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        asked = True
        yield b"abc"

    fields = [("Expect", "100-continue"), ("Content-Length", "3")]
    async with server.open_http("POST", "/refuse", headers=fields, body=body(), raw=True) as response:
        assert (response.status, await response.read()) == (417, b"")
    assert not asked


async def test_an_upgrade(server: RemoteJob) -> None:
    options: dict[str, Any] = {"raw": True, "upgrade": True}
    async with server.open_http("GET", "/echo", headers=[("Upgrade", "mine/2")], **options) as response:
        assert (response.status, response.tunnel is not None) == (101, True)
        assert response.tunnel is not None
        await response.tunnel.send(b"hello")
        await response.tunnel.end()
        assert b"".join([data async for data in response.tunnel]) == b"firsthellolast"
    async with server.open_http("GET", "/426", headers=[("Upgrade", "mine/2")], **options) as response:
        assert (response.status, response.tunnel, await response.read()) == (426, None, b"no")


@slow_with_a_router
async def test_a_502_has_the_reason(server: RemoteJob) -> None:
    status, _, body = await server.http("GET", "/", scheme="https")
    assert status == 502
    assert body.startswith(b"502 Bad Gateway: the job does not accept a connection")
