"""Kept connections to real servers: which requests may use one, and that they do not block servers of one thread."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pagent.agent import Agent
from pagent.client.agent import connect_agent
from pagent.limits import IDLE_TIMEOUT_S
from pagent.splice.pool import KEPT_PROVEN, Pool
from tests.kit.agents import TOKEN
from tests.kit.ends import HeldTimers
from tests.kit.peer import PATIENCE_S, Peer
from tests.kit.programs import serving, start_program

#: Answers how many connections were made; closes one unannounced after some of its requests, by its path.
COUNTING = serving("""
import random
made = 0
async def serve(reader, writer):
    global made
    made += 1
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            path = head.split(b" ")[1]
            length = [f for f in head.lower().split(b"\\r\\n") if f.startswith(b"content-length:")]
            await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
            if path == b"/slow":
                await asyncio.sleep(0.2)
            body = str(made).encode()
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
            await writer.drain()
            if path == b"/close" or (path == b"/some" and random.random() < 0.3):
                await asyncio.sleep(random.random() / 500)
                writer.close()
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
""")

#: One connection at a time, to its end.
SINGLE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

POST = [["Content-Length", "1"]]


async def made(peer: Peer, job: str) -> int:
    return int(b"".join((await peer.http(job, "GET", "/"))[2]))


@pytest.mark.parametrize("path", ["/close", "/some"])
async def test_no_post_fails_where_connections_are_closed_unannounced(peer: Peer, path: str) -> None:
    job = await start_program(peer, COUNTING)

    async def some(number: int) -> list[int]:
        got = []
        for turn in range(20):
            if (number + turn) % 2:
                got.append((await peer.http(job, "POST", path, [], POST, [b"x"]))[0])
            else:
                got.append((await peer.http(job, "GET", path))[0])
        return got

    async with asyncio.timeout(4 * PATIENCE_S):
        statuses = await asyncio.gather(*(some(number) for number in range(30)))
    assert [status for each in statuses for status in each if status != 200] == []


async def test_posts_share_connections_once_the_port_has_proven_that_it_keeps_them(peer: Peer) -> None:
    job = await start_program(peer, COUNTING)
    for _ in range(3):
        await peer.http(job, "POST", "/", [], POST, [b"x"])
    before = await made(peer, job)
    assert before == 3
    for _ in range(KEPT_PROVEN):
        await peer.http(job)
    assert await made(peer, job) == before
    for _ in range(3):
        await peer.http(job, "POST", "/", [], POST, [b"x"])
    assert await made(peer, job) == before
    await peer.http(job, "GET", "/close")
    async with asyncio.timeout(PATIENCE_S):
        while await made(peer, job) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    after = await made(peer, job)
    await peer.http(job, "POST", "/", [], POST, [b"x"])
    assert await made(peer, job) == after + 1


#: Answers HEAD as GET: its body comes after the head, in pieces.
BODY_FOR_HEAD = serving("""
async def serve(reader, writer):
    try:
        while True:
            await reader.readuntil(b"\\r\\n\\r\\n")
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 9\\r\\n\\r\\n")
            for _ in range(3):
                await writer.drain()
                await asyncio.sleep(0.002)
                writer.write(b"abc")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
""")


async def test_a_body_in_answer_to_head_is_not_taken_for_the_next_response(peer: Peer) -> None:
    job = await start_program(peer, BODY_FOR_HEAD)
    for _ in range(10):
        assert (await peer.http(job, "HEAD"))[0] == 200
        status, _, body = await peer.http(job)
        assert (status, b"".join(body)) == (200, b"abcabcabc")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_server_of_one_thread_answers_parallel_requests(
    peer: Peer, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It serves one connection to its end. Others wait until the pool closes that one, before its idle timeout."""
    HeldTimers(monkeypatch, Pool, IDLE_TIMEOUT_S)
    job = await start_program(peer, SINGLE)
    await peer.http(job)
    headers, body = (POST, [b"x"]) if method == "POST" else ([], [])
    async with asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(*(peer.http(job, method, "/", [], headers, body) for _ in range(10)))
    assert [answer[0] for answer in answers] == [200] * 10


#: One connection at a time, to its end; accepts an upgrade.
SINGLE_UPGRADING = SINGLE.replace(
    "    def do_GET(self):",
    """    def do_GET(self):
        if self.headers["Upgrade"]:
            import base64, hashlib
            key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
            self.end_headers()
            self.close_connection = True
            return""",
)


async def test_an_idle_connection_gives_way_to_tunnels_and_websockets(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for requests: the kernel has accepted the new connection, the server has not."""
    HeldTimers(monkeypatch, Pool, IDLE_TIMEOUT_S)
    async with connect_agent(f"127.0.0.1:{agent.rpc_port}", token=TOKEN) as client:
        job = await client.create_job()
        await job.start(["python3", "-c", SINGLE_UPGRADING, "{port}"], port="auto", ready="connect")
        await job.http("GET", "/")
        async with asyncio.timeout(PATIENCE_S), job.open_tcp() as tunnel:
            await tunnel.send(b"GET / HTTP/1.0\r\n\r\n")
            assert b"".join([data async for data in tunnel]).endswith(b"hi")
            await tunnel.end()
        await job.http("GET", "/")
        async with asyncio.timeout(PATIENCE_S), job.websocket("/"):
            pass


async def test_a_pool_under_load_stays_one(peer: Peer) -> None:
    """A job that answers all requests slowly loses few of its connections, though each new one waits for long."""
    job = await start_program(peer, COUNTING)

    async def one() -> None:
        for _ in range(5):
            assert (await peer.http(job, "GET", "/slow"))[0] == 200

    await asyncio.gather(*(one() for _ in range(40)))
    assert await made(peer, job) < 120  # of 200 requests


async def test_one_that_never_answers_costs_one_idle_connection(peer: Peer) -> None:
    """A long poll is such a request: further requests of the page use the other pooled connections."""
    job = await start_program(peer, COUNTING)
    slow = [asyncio.create_task(peer.http(job, "GET", "/slow")) for _ in range(3)]
    for _ in range(200):
        await peer.http(job)
    await asyncio.gather(*slow)
    assert await made(peer, job) <= 8


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) - 1


async def test_idle_connections_make_room_when_no_descriptor_is_left(peer: Peer) -> None:
    """Idle connections of another job count: a request that needs a connection does not fail."""
    idle, other = await start_program(peer, COUNTING), await start_program(peer, COUNTING)
    # Answered within the time after which a new connection makes an idle one of its port close.
    await asyncio.gather(*(peer.http(idle) for _ in range(20)))
    files = []
    try:
        with few_descriptors(open_descriptors() + 2):
            with suppress(OSError):
                while True:
                    files.append(open("/dev/null", "rb"))  # noqa: SIM115, ASYNC230
            assert (await peer.http(other))[0] == 200
            assert (await peer.http(other, "POST", "/", [], POST, [b"x"]))[0] == 200
    finally:
        for file in files:
            file.close()
