"""A browser's WebSocket to jobs of both kinds of agents: as it is to ours, message by message to those of the field."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket

from pagent.agent import Agent
from pagent.client.link import connect
from pagent.limits import MESSAGE_MAX_FOREIGN, MIB
from pagent.runtime.memory import current_memory
from tests.front.job import CONNECTION
from tests.front.test_user import get
from tests.kit.agents import TOKEN
from tests.kit.directory import Front, KnownAgent, KnownJobs, running_front
from tests.kit.peer import PATIENCE_S
from tests.kit.transfers import eventually
from tests.kit.wire import wire

#: Echoes; ``close`` closes with 4000, ``drop`` drops the connection. The handshake of ``/late`` waits for ``/release``.
_SERVER = """
import asyncio, sys
from websockets.asyncio.server import serve

async def echo(socket):
    async for message in socket:
        if message == "close":
            await socket.close(4000, "bye")
        elif message == "drop":
            socket.transport.abort()
        else:
            await socket.send(message)
    print(socket.close_code, flush=True)

released = asyncio.Event()

async def refuse(connection, request):
    if request.path == "/late":
        await released.wait()
    elif request.path == "/release":
        released.set()
    elif request.path == "/refused":
        return connection.respond(403, "no")

async def main():
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None, process_request=refuse):
        await asyncio.Future()
asyncio.run(main())
"""
_HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@pytest.fixture(params=[True, False], ids=["ours", "field"])
async def front(agent: Agent, request: pytest.FixtureRequest) -> AsyncIterator[Front]:
    extensions = ("flow",) if request.param else ()
    async with (
        connect(f"127.0.0.1:{agent.rpc_port}", token=TOKEN, extensions=extensions) as connection,
        running_front(KnownJobs(KnownAgent(connection.connection, is_ours=request.param))) as running,
    ):
        yield running


@pytest.fixture
async def job(front: Front) -> str:
    assert front.jobs.link is not None
    link = front.jobs.link.connection
    job = (await link.call("job_create", "test"))["uid"]
    await link.call("job_start", job, [sys.executable, "-c", _SERVER, "{port}"], {}, port="auto", ready="connect")
    return f"/jobs/{CONNECTION}/{job}/http"


def is_ours(front: Front) -> bool:
    assert front.jobs.link is not None
    return front.jobs.link.is_ours


def dial(front: Front, path: str) -> connect_websocket:
    return connect_websocket(f"ws://127.0.0.1:{front.port}{path}", max_size=None, compression=None)


async def no_calls(front: Front) -> None:
    assert front.jobs.link is not None
    async with asyncio.timeout(PATIENCE_S):
        while front.jobs.link.connection.outgoing:  # noqa: ASYNC110 - the end of a call is reported to no test
            await asyncio.sleep(0.01)


async def test_messages(front: Front, job: str) -> None:
    async with dial(front, f"{job}/a?b") as socket:
        for message in ("hello", "", "ü", b"bytes", b"", b"x" * 200_000, "y" * 70_000):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(["in ", "pieces"])
        assert await socket.recv() == "in pieces"
        async with asyncio.timeout(PATIENCE_S):
            await (await socket.ping())
    await no_calls(front)


async def test_many_messages_at_once(front: Front, job: str) -> None:
    async with dial(front, f"{job}/") as socket:
        for number in range(2000):
            await socket.send(str(number))
        assert [await socket.recv() for _ in range(2000)] == [str(number) for number in range(2000)]


async def closed(socket: ClientConnection) -> int | None:
    with pytest.raises(websockets.ConnectionClosed):
        async with asyncio.timeout(PATIENCE_S):
            await socket.recv()
    return socket.close_code


async def test_the_jobs_close(front: Front, job: str) -> None:
    async with dial(front, f"{job}/") as socket:
        await socket.send("close")
        assert await closed(socket) == (4000 if is_ours(front) else 1000)
    await no_calls(front)


async def test_the_job_drops_the_connection(front: Front, job: str) -> None:
    async with dial(front, f"{job}/") as socket:
        await socket.send("drop")
        assert await closed(socket) == (1006 if is_ours(front) else 1000)
    await no_calls(front)


async def test_a_browser_that_drops_the_connection(front: Front, job: str) -> None:
    async with dial(front, f"{job}/") as socket:
        await socket.send("x")
        await socket.recv()
        socket.transport.abort()
        await no_calls(front)


async def test_a_refusal(front: Front, job: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with dial(front, f"{job}/refused"):
            pass
    response = refused.value.response
    if is_ours(front):
        assert (response.status_code, response.body) == (403, b"no")
    else:
        assert response.status_code == 502
        assert response.body is not None
        assert b"Error message: 403, message='Invalid response status'" in response.body


async def test_frames_that_are_none(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/", *_HANDSHAKE))
        status, got = await client.head()
        assert status == 101
        assert ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in got
        client.say(b"\x81\x02hi")  # not masked
        rest = await client.rest()
        assert (rest[:1], int.from_bytes(rest[2:4], "big")) == (b"\x88", 1002)
    await no_calls(front)


async def test_a_handshake_that_is_none(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        answer = await client.ask(get(f"{job}/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"))
        assert answer.status in (400, 426)


async def test_a_message_that_no_agent_of_the_field_takes(front: Front, job: str) -> None:
    async with dial(front, f"{job}/") as socket:
        message = bytes(MESSAGE_MAX_FOREIGN + MIB)
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.send(message)
        if is_ours(front):
            assert await socket.recv() == message
        else:
            assert await closed(socket) == 1009


async def test_the_router_ends(front: Front, job: str) -> None:
    """Bytes of ours are passed as they are, so that no frame can be put between them."""
    over = asyncio.Event()
    async with running_front(front.jobs) as ending, dial(ending, f"{job}/") as socket:
        await socket.send("x")
        await socket.recv()
        drain = asyncio.ensure_future(ending.server.drain(over))
        assert await closed(socket) == (1006 if is_ours(front) else 1001)
        async with asyncio.timeout(PATIENCE_S):
            await drain  # no time limit is needed to end it
    await no_calls(front)


async def test_a_browser_that_does_not_answer_the_close_of_a_router_that_ends(front: Front, job: str) -> None:
    async with running_front(front.jobs) as ending, wire(ending.port) as client:
        client.say(get(f"{job}/", *_HANDSHAKE))
        assert (await client.head())[0] == 101
        async with asyncio.timeout(PATIENCE_S):
            await ending.server.drain(asyncio.Event())
        if not is_ours(front):
            assert await client.rest() == b"\x88\x02" + (1001).to_bytes(2)


async def test_a_websocket_that_opens_while_the_router_ends(front: Front, job: str) -> None:
    assert front.jobs.link is not None
    outgoing = front.jobs.link.connection.outgoing
    async with running_front(front.jobs) as ending, dial(front, f"{job}/") as other:
        opening = asyncio.ensure_future(dial(ending, f"{job}/late").__aenter__())
        async with asyncio.timeout(PATIENCE_S):
            while len(outgoing) < 2:  # noqa: ASYNC110 - the start of a call is reported to no test
                await asyncio.sleep(0.01)
            drain = asyncio.ensure_future(ending.server.drain(asyncio.Event()))
            async with dial(front, f"{job}/release"):
                pass
            assert await closed(await opening) == (1006 if is_ours(front) else 1001)
            await drain
        await other.close()
    await no_calls(front)


async def test_a_browser_that_goes_without_reading_leaves_no_counted_memory(front: Front, job: str) -> None:
    if is_ours(front):
        return  # a tunnel: tests/front/test_raw.py
    memory = current_memory()
    before = memory.used
    async with connect_websocket(f"ws://127.0.0.1:{front.port}{job}/", max_size=None, max_queue=1) as socket:
        for _ in range(60):
            await socket.send(bytes(200_000))
        await socket.send("drop")
        await no_calls(front)  # the agent has ended the call: what is left is kept here
        assert memory.used > before
        socket.transport.abort()
        await eventually(lambda: memory.used == before)
