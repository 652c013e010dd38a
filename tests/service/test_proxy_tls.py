"""Jobs that speak TLS: ``scheme='https'``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import BISTREAM, PATIENCE_S, CallFailed, Peer
from tests.kit.programs import start_program

SERVER = """
import asyncio, hashlib, base64, ssl, sys
made = 0
async def serve(reader, writer):
    global made
    made += 1
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            path = head.split(b" ")[1]
            fields = {n.lower(): v.strip() for n, _, v in (f.partition(b":") for f in head.split(b"\\r\\n")[1:-2])}
            if path == b"/ws":
                key = fields[b"sec-websocket-key"] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                accept = base64.b64encode(hashlib.sha1(key).digest())
                writer.write(b"HTTP/1.1 101 x\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
                             b"Sec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n\\x81\\x02hi")
                await reader.read()
                return writer.close()
            body = await reader.readexactly(int(fields.get(b"content-length", 0)))
            if path == b"/until-close":
                writer.write(b"HTTP/1.1 200 OK\\r\\n\\r\\n" + bytes(1000000))
                await writer.drain()
                return writer.close()
            answer = str(made).encode() + b" " + body
            location = b"https://localhost:%d/x" % int(sys.argv[1])
            fields = b"Location: %s\\r\\nContent-Length: %d\\r\\n\\r\\n" % (location, len(answer))
            writer.write(b"HTTP/1.1 200 OK\\r\\n" + fields + answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        writer.close()

async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), ssl=context)
    await server.serve_forever()
asyncio.run(main())
"""

PLAIN = """
import http.server, sys
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]))
"""


@pytest.fixture
async def ours(agent: Agent) -> AsyncIterator[Peer]:
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow"]) as dialled:
        yield dialled


@pytest.fixture
async def job(ours: Peer, certificate: tuple[Path, Path]) -> str:
    names = f"CERTIFICATE, KEY = {str(certificate[0])!r}, {str(certificate[1])!r}\n"
    return await start_program(ours, names + SERVER)


async def get(peer: Peer, job: str, method: str = "GET", path: str = "/", **options: Any) -> tuple[int, bytes]:
    status, _, body = await peer.http(job, method, path, scheme="https", **options)
    return status, b"".join(body)


async def test_requests_share_connections_and_their_redirects_are_local(ours: Peer, job: str) -> None:
    first = await get(ours, job)
    assert first[0] == 200
    for _ in range(5):
        assert await get(ours, job) == first
    status, answer = await get(ours, job, "POST", headers=[["Content-Length", "200000"]], body=[bytes(100_000)] * 2)
    assert (status, answer.partition(b" ")[2]) == (200, bytes(200_000))
    _, fields, _ = await ours.http(job, scheme="https")
    assert ["Location", "/x"] in fields


async def test_a_body_until_the_end_of_the_connection(ours: Peer, job: str) -> None:
    call = await ours.start(BISTREAM, "http_request", job, "GET", "/until-close", [], [], scheme="https")
    await ours.data(call, b"")
    await ours.send([10, call, 2_000_000])
    got, _ = await ours.outcome(call)
    assert (got[0], sum(map(len, got[2:]))) == (200, 1_000_000)


async def test_a_websocket(ours: Peer, job: str) -> None:
    call = await ours.start(BISTREAM, "ws_connect", job, "/ws", [], [], scheme="https")
    assert [(await ours.next_of(call))[2] for _ in range(2)] == [True, "hi"]
    await ours.cancel(call)


async def test_a_tunnel_speaks_tls_for_its_caller(ours: Peer, job: str) -> None:
    call = await ours.start(BISTREAM, "tcp_connect", job, scheme="https")
    await ours.data(call, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await ours.next_of(call))[2] is True
    data = b""
    async with asyncio.timeout(PATIENCE_S):
        while b"\r\n\r\n" not in data:
            message = await ours.next_of(call)
            data += message[2] if message[0] == 8 else b""
    assert data.startswith(b"HTTP/1.1 200 OK")
    await ours.cancel(call)


async def test_a_scheme_that_is_not_what_the_job_speaks(ours: Peer, job: str) -> None:
    status, _, _ = await ours.http(job)
    assert status == 502
    with pytest.raises(CallFailed) as failed:
        await ours.http(job, scheme="gopher")
    assert failed.value.cause == "ValueError"


async def test_plain_http_asked_for_tls_is_a_502_that_says_so(ours: Peer) -> None:
    plain = await start_program(ours, PLAIN)
    status, body = await get(ours, plain)
    assert status == 502
    assert b"does not accept a connection" in body
