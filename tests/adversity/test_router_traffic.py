"""Traffic to jobs through a router and an agent process, with real sockets at both ends.

What differs from the original router on purpose, and what clients get when a part of the way is lost or stalls.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pagent.relay.agent import ConnectedAgent
from pagent.router import Router
from tests.kit.agents import TOKEN, AgentProcess, agent_process
from tests.kit.peer import PATIENCE_S
from tests.kit.programs import serving
from tests.kit.routers import connected, running_router
from tests.kit.wire import Answer, wire

#: Each answer by its path; of those with a mark in the query, the body consists of this mark.
JOB = serving(r"""
import gzip
FIXED = {
    "/204": (b"204 No Content", b"X-A: 1\r\n", None),
    "/304": (b"304 Not Modified", b'ETag: "x"\r\n', None),
    "/plain": (b"200 OK", b"Content-Type: text/plain\r\n", b"plain"),
    "/cached": (b"200 OK", b"Cache-Control: max-age=60\r\nExpires: Thu, 01 Dec 2033 16:00:00 GMT\r\n", b"cached"),
    "/gzip": (b"200 OK", b"Content-Encoding: gzip\r\n", gzip.compress(b"text", mtime=0)),
    "/unknown-coding": (b"200 OK", b"Content-Encoding: x-mine\r\n", b"text"),
    "/redirect": (b"302 Found", b"Location: /plain?a=b\r\n", b"gone"),
    "/socket": (b"403 Forbidden", b"X-Why: mine\r\n", b"no sockets"),
}
waiting = 0

async def serve(reader, writer):
    try:
        while True:
            await one(reader, writer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def one(reader, writer):
    global waiting
    head = await reader.readuntil(b"\r\n\r\n")
    path, _, mark = head.split(b" ")[1].decode().partition("?")
    if path in FIXED:
        status, fields, body = FIXED[path]
        length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
        writer.write(b"HTTP/1.1 %s\r\n%s%s\r\n" % (status, fields, length) + (body or b""))
    elif path == "/upload":
        size = 0
        assert b"\r\nTransfer-Encoding: chunked\r\n" in head and b"Content-Length" not in head
        while piece := int(await reader.readline(), 16):
            size += len((await reader.readexactly(piece + 2))[:-2])
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (len(str(size)), size))
    elif path == "/cut":
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        raise ConnectionError
    elif path == "/count":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (len(str(waiting)), waiting))
    elif path == "/wait":  # and read nothing
        waiting += 1
        await asyncio.sleep(600)
    elif path == "/part":  # of an answer
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + mark.encode() * 1000)
        await writer.drain()
        await asyncio.sleep(600)
    elif path == "/endless":
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(100_000))
            await writer.drain()
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(mark) * 1000) + mark.encode() * 1000)
""")


class Way(NamedTuple):
    """The way to a job. ``target`` is where the targets of the job begin."""

    router: Router
    agent: AgentProcess
    link: ConnectedAgent
    job: str

    @property
    def target(self) -> str:
        return f"/jobs/-/{self.job}/http"

    @property
    def port(self) -> int:
        return self.router.control_port


@pytest.fixture
async def way(tmp_path: Path) -> AsyncIterator[Way]:
    dials = ("client.enabled=True", f"client.token={TOKEN!r}", "identity.uid='AGENT'")
    async with running_router() as router:
        address = f"client.address='127.0.0.1:{router.server_port}'"
        options = [part for setting in (*dials, address) for part in ("--set", setting)]
        async with agent_process(tmp_path, *options) as agent:
            link = await connected(router, "AGENT")
            job = (await router.directory.create(link, "test"))["uid"]
            command = [sys.executable, "-c", JOB, "{port}"]
            with router.directory.starting(job):
                await link.call("job_start", job, command, {}, port="auto", ready="connect")
            yield Way(router, agent, link, job)


def request(way: Way, path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {way.target}{path} HTTP/1.1", "Host: h", *fields, "", ""]).encode()


# --- differences from the original router -------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "fields", "body"),
    [
        ("/204", 204, [("X-A", "1")], b""),
        ("/304", 304, [("ETag", '"x"')], b""),
        (
            "/cached",
            200,
            [("Cache-Control", "max-age=60"), ("Expires", "Thu, 01 Dec 2033 16:00:00 GMT"), ("Content-Length", "6")],
            b"cached",
        ),
        ("/unknown-coding", 200, [("Content-Encoding", "x-mine"), ("Content-Length", "4")], b"text"),
        ("/redirect", 302, [("Location", "/plain?a=b"), ("Content-Length", "4")], b"gone"),
        ("/plain", 200, [("Content-Type", "text/plain"), ("Content-Length", "5")], b"plain"),
    ],
)
async def test_an_answer_is_the_jobs_own(
    way: Way, path: str, status: int, fields: list[tuple[str, str]], body: bytes
) -> None:
    """No field is added, replaced or removed."""
    async with wire(way.port) as client:
        assert await client.ask(request(way, path)) == Answer(status, fields, body, [])


async def test_an_encoded_answer_stays_encoded(way: Way) -> None:
    async with wire(way.port) as client:
        for fields in ((), ("Accept-Encoding: identity",), ("Accept-Encoding: br",)):
            answer = await client.ask(request(way, "/gzip", *fields))
            assert answer.value("Content-Encoding") == "gzip"
            assert gzip.decompress(answer.body) == b"text"


async def test_an_upload_in_chunks_reaches_the_job_in_chunks(way: Way) -> None:
    async with wire(way.port) as client:
        client.say(request(way, "/upload", "Transfer-Encoding: chunked", method="POST"))
        for _ in range(100):
            client.say(b"2710\r\n" + bytes(10_000) + b"\r\n")
            await client.writer.drain()
        client.say(b"0\r\n\r\n")
        assert (await client.answer()).body == b"1000000"


async def test_a_websocket_that_the_job_refuses_gets_the_jobs_answer(way: Way) -> None:
    handshake = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    async with wire(way.port) as client:
        fields = [("X-Why", "mine"), ("Content-Length", "10")]
        assert await client.ask(request(way, "/socket", *handshake)) == Answer(403, fields, b"no sockets", [])
        assert (await client.ask(request(way, "/plain"))).body == b"plain"


async def test_a_body_that_breaks_off_does_not_look_complete(way: Way) -> None:
    async with wire(way.port) as client:
        client.say(request(way, "/cut"))
        assert (await client.head())[1] == [("Transfer-Encoding", "chunked")]
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.reader.readuntil(b"0\r\n\r\n")


# --- loss -------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """The answer that a client got: ``status`` is 0 without a head; ``is_whole`` is false if it was cut off."""

    status: int
    is_whole: bool


async def get(way: Way, path: str, mark: str, begun: asyncio.Event | None = None) -> Outcome:
    """Ask once; AssertionError if a byte of the answer is of another client. ``begun`` is set by the head."""
    received = b""
    async with wire(way.port) as client:
        client.say(request(way, f"{path}?{mark}"))
        try:
            status, fields = await client.head()
            if begun is not None:
                begun.set()
            length = int(dict(fields)["Content-Length"])
            async with asyncio.timeout(PATIENCE_S):
                while len(received) < length and (piece := await client.reader.read(length - len(received))):
                    received += piece
        except (asyncio.IncompleteReadError, ConnectionError):
            if not (begun is not None and begun.is_set()) and not received:
                return Outcome(0, False)
            status, length = 200, -1
    if status == 200:
        expected = mark.encode() * (len(received) // len(mark) + 1)
        assert received == expected[: len(received)]
    return Outcome(status, len(received) == length)


async def cut_link(way: Way) -> None:
    way.link.connection.link.abort("the test cuts it")


async def kill_agent(way: Way) -> None:
    way.agent.signal(signal.SIGKILL)


async def kill_job(way: Way) -> None:
    os.kill((await way.link.call("job_info", way.job))["pid"], signal.SIGKILL)


async def count_waiting(way: Way) -> int:
    async with wire(way.port) as client:
        return int((await client.ask(request(way, "/count"))).body)


@pytest.mark.parametrize("lose", [cut_link, kill_agent, kill_job])
async def test_each_of_fifty_clients_gets_an_answer_or_is_cut_off(
    way: Way, lose: Callable[[Way], Awaitable[None]]
) -> None:
    begun = [asyncio.Event() for _ in range(15)]
    answered = [asyncio.Event() for _ in range(20)]
    lost = asyncio.Event()

    async def repeated(number: int, once: asyncio.Event) -> list[Outcome]:
        """Outcomes up to some after the loss; ``once`` is set by the first."""
        found = []
        more = 2
        while more:
            more -= lost.is_set()
            found.append(await get(way, "/mark", f"<{number}.{len(found)}>"))
            once.set()
        return found

    async with asyncio.timeout(2 * PATIENCE_S), asyncio.TaskGroup() as group:
        within = [group.create_task(get(way, "/part", f"<{n}>", event)) for n, event in enumerate(begun)]
        before = [group.create_task(get(way, "/wait", f"<{n}>")) for n in range(15, 30)]
        others = [group.create_task(repeated(n, event)) for n, event in enumerate(answered, 30)]
        for event in begun + answered:
            await event.wait()
        while await count_waiting(way) < len(before):  # noqa: ASYNC110 - the job reports it to no test
            await asyncio.sleep(0.01)
        await lose(way)
        lost.set()
    assert {task.result() for task in within} == {Outcome(200, False)}
    assert {task.result() for task in before} == {Outcome(502, True)}
    for outcomes in (task.result() for task in others):
        assert outcomes[0] == Outcome(200, True)
        assert set(outcomes) <= {Outcome(status, True) for status in (200, 502, 503)} | {
            Outcome(status, False) for status in (0, 200)
        }


async def test_after_a_cut_link_the_same_target_is_served_by_the_next(way: Way) -> None:
    await cut_link(way)
    await connected(way.router, "AGENT", other_than=way.link)
    assert await get(way, "/mark", "again") == Outcome(200, True)


# --- stalls -----------------------------------------------------------------------------------------


@asynccontextmanager
async def stalled_download(way: Way) -> AsyncIterator[None]:
    async with wire(way.port) as client:
        client.say(request(way, "/endless"))
        await client.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        yield


@asynccontextmanager
async def stalled_upload(way: Way) -> AsyncIterator[None]:
    async with wire(way.port) as client:
        client.say(request(way, "/upload", "Transfer-Encoding: chunked", method="POST") + b"ffff\r\nabc")
        yield


@asynccontextmanager
async def stalled_job(way: Way) -> AsyncIterator[None]:
    """The job reads nothing of an upload."""
    async with wire(way.port) as client:
        client.say(request(way, "/wait", "Content-Length: 50000000", method="POST") + bytes(50_000_000))
        yield


@pytest.mark.parametrize("stall", [stalled_download, stalled_upload, stalled_job])
async def test_what_stalls_does_not_stop_the_requests_of_others(
    way: Way, stall: Callable[[Way], AbstractAsyncContextManager[None]]
) -> None:
    async def several(number: int) -> int:
        async with wire(way.port) as client:
            return sum([len((await client.ask(request(way, f"/mark?{number}"))).body) for _ in range(50)])

    async with stall(way), stall(way), stall(way), asyncio.timeout(2 * PATIENCE_S):
        assert await asyncio.gather(*map(several, range(8))) == [50_000] * 8
