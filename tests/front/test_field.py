"""Agents of the field: a link without extensions to our agent, and a scripted one for what ours never says."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client.link import connect
from pagent.config.router import SpoolSettings
from pagent.front.field import decoded_target
from pagent.limits import MIB
from pagent.rpc.aio import AsyncStream
from pagent.rpc.calls import IncomingCall
from pagent.rpc.connection import Connection
from pagent.rpc.methods import bistream, methods_of
from pagent.wire import identity
from tests.front.job import CONNECTION, start_job
from tests.front.test_user import chunked, get, loses, post
from tests.kit.agents import TOKEN
from tests.kit.directory import Front, KnownAgent, KnownJobs, running_front
from tests.kit.wire import wire

TARGET = f"/jobs/{CONNECTION}/job/http"


@pytest.fixture
async def front(agent: Agent) -> AsyncIterator[Front]:
    async with (
        connect(f"127.0.0.1:{agent.rpc_port}", token=TOKEN, extensions=()) as connection,
        running_front(KnownJobs(KnownAgent(connection.connection, is_ours=False))) as running,
    ):
        yield running


@pytest.fixture
async def job(front: Front) -> str:
    """Started over a link of ours that has the same owner would be another owner's: so as the field starts it."""
    assert front.jobs.link is not None
    return await start_job(front.jobs.link.connection)


class Scripted:
    """An agent of the field whose answers the test writes: ``answer`` are stream messages, then the result."""

    def __init__(self) -> None:
        self.answer: list[Any] = []
        self.result: Any = None
        self.error: Exception | None = None
        self.arguments: tuple[Any, ...] = ()
        self.body = b""
        self.hold = asyncio.Event()
        self.hold.set()

    @bistream
    async def http_request(self, call: IncomingCall, *arguments: Any, **_: bool) -> Any:
        assert call.stream is not None
        self.arguments = arguments
        stream = AsyncStream(call.stream)
        while piece := await stream.receive():
            self.body += piece
        for value in self.answer:
            await stream.send(value)
        await self.hold.wait()
        if self.error is not None:
            raise self.error
        return self.result


@asynccontextmanager
async def scripted_front(*, is_ours: bool = False, **settings: Any) -> AsyncIterator[tuple[Front, Scripted]]:
    """A users' side and the agent after it, joined by a socket pair."""
    loop = asyncio.get_running_loop()
    script = Scripted()
    data = identity.user_data("one", "one", token="t")
    router = Connection(dialled=False, user_data=data, methods={}, extensions=())
    agent = Connection(dialled=True, user_data=data, methods=methods_of(script), extensions=())
    pair = socket.socketpair()
    for connection, sock in zip((router, agent), pair, strict=True):
        await loop.create_connection(lambda link=connection.link: link, sock=sock)
        connection.start()
    await router.ready
    try:
        async with running_front(KnownJobs(KnownAgent(router, is_ours=is_ours)), **settings) as front:
            yield front, script
    finally:
        for connection in (agent, router):
            connection.link.abort("the test is over")
            await connection.tasks.close()


async def test_requests_and_answers(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        for _ in range(2):
            assert (await client.ask(get(f"{job}/hello"))).body == b"hello"
            assert (await client.ask(post(f"{job}/length", b"abc"))).body == b"3"
            assert (await client.ask(chunked(f"{job}/length", b"abc", b"de"))).body == b"5"
            answer = await client.ask(get(f"{job}/hello", method="HEAD"))
            assert answer.value("Content-Length") == "5"
            assert (await client.ask(get(f"{job}/chunked"))).body == b"abcde"
            for status in (204, 304):
                assert (await client.ask(get(f"{job}/status/{status}"))).status == status
        answer = await client.ask(get(f"{job}/nonsense"))
        assert (answer.status, answer.body[:13]) == (502, b"Proxy error:\n")
        client.say(get(f"{job}/broken"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.answer()


async def test_a_client_that_expects_100_gets_it_from_the_router(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/length", "Expect: 100-continue", "Content-Length: 3", method="PUT"))
        assert await client.head() == (100, [])
        client.say(b"abc")
        assert (await client.answer()).body == b"3"


async def test_a_client_that_goes_cancels_the_call(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/events"))
        await client.head()
        client.reset()
        await loses(front, job, 1)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/echo", "/echo", []),
        ("/?a=1&a=2&b=%20x&c=&d", "/", [["a", "1"], ["a", "2"], ["b", " x"], ["c", ""], ["d", ""]]),
        ("/a%2Fb%20c/%D1%8F", "/a/b c/я", []),
        ("/a%FF?b=%FF", "/a%FF", [["b", "\ufffd"]]),
        ("/a?", "/a", []),
    ],
)
def test_the_decoded_target_for_an_agent(target: str, path: str, query: list[list[str]]) -> None:
    assert decoded_target(target) == (path, query)


async def test_the_arguments_of_a_request_for_an_agent() -> None:
    async with scripted_front() as (front, script), wire(front.port) as client:
        script.answer = [200, [["Content-Type", "text/plain"], ["Transfer-Encoding", "chunked"]], b"a", b"", b"b"]
        answer = await client.ask(chunked(f"{TARGET}/a%20b?c=d", b"abc", trailers=b"X: y\r\n"))
        assert (answer.fields, answer.body) == (
            [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")],
            b"ab",
        )
        assert script.arguments[:4] == ("job", "POST", "/a b", (("c", "d"),))
        names = [name for name, _ in script.arguments[4]]
        assert names[:2] == ["Host", "X-Forwarded-For"]
        assert "Transfer-Encoding" not in names
        assert script.body == b"abc"


@pytest.mark.parametrize(
    ("coding", "body", "passed"),
    [
        ("gzip", gzip.compress(b"hello", mtime=0), True),
        ("gzip", b"hello", False),
        ("deflate", b"\x78\x9cx", True),
        ("deflate", b"hello", False),
        ("br", b"hello", True),
    ],
)
async def test_a_coding_is_passed_on_only_if_the_body_has_it(coding: str, body: bytes, passed: bool) -> None:
    async with scripted_front() as (front, script), wire(front.port) as client:
        fields = [["Content-Encoding", coding], ["Cache-Control", "max-age=1"], ["Content-Length", str(len(body))]]
        script.answer = [200, fields, body[:2], body[2:]]
        answer = await client.ask(get(f"{TARGET}/"))
        assert answer.body == body
        assert answer.value("Content-Encoding") == (coding if passed else None)
        assert answer.value("Cache-Control") == "max-age=1"
        script.answer = [200, fields]
        answer = await client.ask(get(f"{TARGET}/", method="HEAD"))
        assert answer.value("Content-Length") == str(len(body))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([200, [["Content-Length", "9"]], b"hello"], None),
        ([200, [], b"hello", False], None),
        ([200, [], b"hello"], ValueError("broken")),
        ([200, [], b"hello", "text"], None),
    ],
)
async def test_answers_that_break(answer: list[Any], error: Exception | None) -> None:
    async with scripted_front() as (front, script), wire(front.port) as client:
        script.answer, script.error = answer, error
        client.say(get(f"{TARGET}/"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
            await client.answer()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([], ValueError("job does not contain a running server")),
        ([200], None),
        ([], None),
        (["200"], None),
        ([200, [["A", "b\r\nC: d"]]], None),
        ([200, [["A"]]], None),
        ([200, "x"], None),
        ([200, [["Content-Length", "-1"]]], None),
        ([502, []], None),
        ([101, [["Upgrade", "x"]]], None),
        ([200, [["Content-Length", "3"]], b"hello"], None),
        ([200, [["Content-Length", "9"]]], None),
        ([200, [], False], None),
        ([100, []], None),
        ([600, []], None),
    ],
)
async def test_answers_that_are_none(answer: list[Any], error: Exception | None) -> None:
    async with scripted_front() as (front, script), wire(front.port) as client:
        script.answer, script.error = answer, error
        got = await client.ask(get(f"{TARGET}/"))
        assert (got.status, got.body[:13]) == (502, b"Proxy error:\n")
        if error is not None:
            assert b"Error message: job does not contain a running server\n" in got.body


# --- slow clients -----------------------------------------------------------------------------------


async def test_data_that_a_client_does_not_read_is_spooled(tmp_path: Path) -> None:
    pieces = [bytes((number,)) * 300_000 for number in range(100)]
    async with scripted_front(spool=SpoolSettings(root=tmp_path)) as (front, script):
        script.answer = [200, [], *pieces]
        async with wire(front.port) as slow, wire(front.port) as other:
            slow.say(get(f"{TARGET}/"))
            await slow.head()
            link = front.jobs.link
            assert link is not None
            await asyncio.sleep(0.5)
            script.answer = [200, [["Content-Length", "2"]], b"hi"]
            assert (await other.ask(get(f"{TARGET}/"))).body == b"hi"
            got = bytearray()
            while size := int(await slow.reader.readline(), 16):
                got += await slow.reader.readexactly(size)
                await slow.reader.readexactly(2)
            assert got == b"".join(pieces)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("limits", [{"max": 8 * MIB}, {"max_all": 8 * MIB}])
async def test_a_client_beyond_the_spools_limit_is_cut_off(tmp_path: Path, limits: dict[str, int]) -> None:
    async with scripted_front(spool=SpoolSettings(root=tmp_path, **limits)) as (front, script):
        script.answer = [200, [], *[bytes(MIB)] * 60]
        async with wire(front.port) as slow:
            slow.say(get(f"{TARGET}/"))
            await slow.head()
            async with asyncio.timeout(30):
                while front.server.connections:  # noqa: ASYNC110 - the client hears of it when it reads
                    await asyncio.sleep(0.01)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await slow.reader.readexactly(100 * MIB)
