"""``ws_connect`` end to end: a real WebSocket server as the job, a router of the field and a peer of ours to call."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client import AgentClient, RemoteJob, connect_agent
from pagent.errors import MethodError
from tests.kit.agents import TOKEN
from tests.kit.peer import BISTREAM, CallFailed, Peer
from tests.kit.programs import start_program

#: /echo echoes; /head sends the request's head back as text; /close closes with 4001; /refuse answers 403 with a body;
#: /cut drops the connection; /big sends as many bytes as the query says; /pings counts the pongs to three pings.
SERVER = """
import asyncio, os, sys
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response
def refuse(connection, request):
    if request.path == "/refuse":
        return Response(403, "Forbidden", Headers({"Content-Length": "9", "Connection": "close"}), b"not today")
def choose(connection, offered):
    return next((name for name in offered if name in ("one", "two")), None)
async def handle(socket):
    path, _, query = socket.request.path.partition("?")
    if path == "/head":
        lines = [f"{name}: {value}" for name, value in socket.request.headers.raw_items()]
        await socket.send("\\n".join([socket.request.path, *lines]))
    elif path == "/close":
        await socket.close(4001, "so far")
    elif path == "/cut":
        socket.transport.abort()
    elif path == "/big":
        await socket.send(bytes(int(query.partition("=")[2])))
    elif path == "/pings":
        for number in range(3):
            await (await socket.ping(bytes([number])))
        await socket.send("3 pongs")
    elif path == "/fragments":
        await socket.send(["a", "", "b"])
        await socket.send([b"c", b"d"])
    async for message in socket:
        await socket.send(message)
    with open("closing", "w") as file:
        file.write(f"{socket.close_code}")
    os.rename("closing", "closed")
async def main():
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), process_request=refuse, compression=None,
                     select_subprotocol=choose, max_size=None, ping_interval=None):
        await asyncio.get_running_loop().create_future()
asyncio.run(main())
"""


@pytest.fixture
async def job(peer: Peer) -> str:
    return await start_program(peer, SERVER)


@pytest.fixture
async def ours(agent: Agent) -> AsyncIterator[AgentClient]:
    async with connect_agent(f"127.0.0.1:{agent.rpc_port}", token=TOKEN) as client:
        yield client


@pytest.fixture
async def our_job(ours: AgentClient) -> RemoteJob:
    job = await ours.create_job()
    await job.start([sys.executable, "-c", SERVER, "{port}"], port="auto", ready="connect")
    return job


async def opened(peer: Peer, job: str, path: str, query: Any = (), headers: Any = ()) -> int:
    call = await peer.start(BISTREAM, "ws_connect", job, path, [list(p) for p in query], [list(h) for h in headers])
    message = await peer.next_of(call)
    assert message[0] == 8
    assert message[2] is True
    return call


async def value(peer: Peer, call: int) -> Any:
    message = await peer.next_of(call)
    assert message[0] == 8, message
    return message[2]


@pytest.mark.parametrize("message", ["", b"", "ü text", b"\x00\xff", "x" * 70_000, b"y" * 300_000])
async def test_a_message_comes_back_as_it_went(peer: Peer, job: str, message: str | bytes) -> None:
    call = await opened(peer, job, "/echo")
    await peer.data(call, message)
    assert await value(peer, call) == message
    await peer.end(call)
    assert await peer.outcome(call) == ([], None)


async def test_many_in_order(peer: Peer, job: str) -> None:
    call = await opened(peer, job, "/echo")
    for number in range(500):
        await peer.data(call, str(number))
    assert [await value(peer, call) for _ in range(500)] == [str(number) for number in range(500)]


async def test_fragments_are_joined_and_pings_answered(peer: Peer, job: str) -> None:
    call = await opened(peer, job, "/fragments")
    assert [await value(peer, call), await value(peer, call)] == ["ab", b"cd"]
    assert await value(peer, await opened(peer, job, "/pings")) == "3 pongs"


async def test_what_the_job_sees_of_the_request(peer: Peer, job: str) -> None:
    headers = [
        ["Host", "router.example"], ["Origin", "http://router.example"], ["Cookie", "a=b"], ["X-Own", "ü"],
        ["Connection", "Upgrade, X-Hop"], ["Upgrade", "websocket"], ["X-Hop", "1"], ["Content-Length", "0"],
        ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="], ["Sec-WebSocket-Version", "13"],
        ["Sec-WebSocket-Extensions", "permessage-deflate"], ["Sec-WebSocket-Protocol", "one"], ["Content-Type", "a/b"],
    ]  # fmt: skip
    call = await opened(peer, job, "/head", [["q", "a b"], ["q", "&"]], headers)
    first, *lines = (await value(peer, call)).split("\n")
    assert first == "/head?q=a%20b&q=%26"
    fields = dict(line.split(": ", 1) for line in lines)
    assert (fields["Host"], fields["Origin"], fields["Cookie"]) == ("router.example", "http://router.example", "a=b")
    assert "X-Own" in fields
    assert fields["Sec-WebSocket-Key"] != "dGhlIHNhbXBsZSBub25jZQ=="
    assert len(lines) == len(fields)
    gone = {"X-Hop", "Content-Length", "Content-Type", "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"}
    assert gone.isdisjoint(fields)


async def test_a_refusal_says_false_and_then_why(peer: Peer, job: str) -> None:
    call = await peer.start(BISTREAM, "ws_connect", job, "/refuse", [], [])
    assert await value(peer, call) is False
    with pytest.raises(CallFailed, match=r"403.*not today") as failed:
        await peer.outcome(call)
    assert failed.value.cause == "WSServerHandshakeError"
    assert failed.value.status == 10


async def test_the_jobs_close_ends_the_stream(peer: Peer, job: str) -> None:
    assert await peer.outcome(await opened(peer, job, "/close")) == ([], None)
    assert await peer.outcome(await opened(peer, job, "/cut")) == ([], None)


async def test_the_callers_close_and_cancel_reach_the_job(peer: Peer, job: str) -> None:
    async def closed_with() -> str:
        while True:
            call = await peer.start(30, "file_download", job, "closed", remove=True)
            with contextlib.suppress(CallFailed):  # not yet
                return b"".join((await peer.outcome(call))[0][1:]).decode()

    call = await opened(peer, job, "/echo")
    await peer.end(call)
    assert await peer.outcome(call) == ([], None)
    assert await closed_with() == "1000"
    call = await opened(peer, job, "/echo")
    await peer.cancel(call)
    assert await closed_with() == "1001"


async def test_a_message_that_is_too_large_for_such_a_peer_closes_its_websocket_alone(peer: Peer, job: str) -> None:
    other = await opened(peer, job, "/echo")
    call = await opened(peer, job, "/big", [["n", str(5 * 1024 * 1024)]])
    assert await peer.outcome(call) == ([], None)
    await peer.data(other, "still here")
    assert await value(peer, other) == "still here"


async def test_a_value_that_is_no_message_ends_the_call_alone(peer: Peer, job: str) -> None:
    call = await opened(peer, job, "/echo")
    await peer.data(call, {"not": "a message"})
    with pytest.raises(CallFailed) as failed:
        await peer.outcome(call)
    assert failed.value.status == 30
    await opened(peer, job, "/echo")


async def test_nothing_listens_there(peer: Peer, job: str) -> None:
    await peer.call("job_kill", job, "KILL")
    with pytest.raises(CallFailed, match="does not contain a running server"):
        await peer.outcome(await peer.start(BISTREAM, "ws_connect", job, "/", [], []))


async def test_ours_learns_the_subprotocol_and_how_it_closed(our_job: RemoteJob) -> None:
    async with our_job.websocket("/echo", subprotocols=["two", "one"]) as socket:
        assert socket.subprotocol == "two"
        assert await socket.close() == (1000, "")
    async with our_job.websocket("/close") as socket:
        assert socket.subprotocol is None
        assert await socket.close() == (4001, "so far")
    async with our_job.websocket("/cut") as socket:
        assert await socket.close() == (1006, "")
    with pytest.raises(MethodError, match="403"):
        async with our_job.websocket("/refuse"):
            pytest.fail("it was refused")


async def test_between_two_of_ours_64_mib_pass_both_ways(our_job: RemoteJob) -> None:
    message = bytes(64 * 1024 * 1024)
    async with our_job.websocket("/echo") as socket:
        await socket.send(message)
        assert await socket.receive() == message
