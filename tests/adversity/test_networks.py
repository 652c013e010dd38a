"""Links over networks that are slow, delay, jitter, or cut connections (docs/contract.rst, "Streams", "Loss")."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import websockets

from pagent.agent import Agent
from pagent.client import connect_agent
from pagent.config.model import ClientSettings, Settings
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import BISTREAM, ISTREAM, OSTREAM, CallFailed, Peer
from tests.kit.programs import ECHO, serving, start_program
from tests.kit.relay import Relay, Shape, Shapes, both, relay
from tests.kit.transfers import download, eventually, new_job, sandbox_of, upload

ROLES = ["accepted", "dialled"]

#: More than any timer of a test.
LONG_S = 600.0

#: Echoes each message, and records each in a line, and how the connection ended.
WEBSOCKET_ECHO = """
import asyncio, sys
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
async def one(ws):
    with open("got", "a", buffering=1) as got:
        try:
            while True:
                message = await ws.recv()
                print(type(message).__name__, len(message), file=got)
                await ws.send(message)
        except ConnectionClosed:
            print("closed", ws.close_code, file=got)
async def main():
    async with serve(one, "127.0.0.1", int(sys.argv[1]), max_size=None, compression=None) as server:
        await server.serve_forever()
asyncio.run(main())
"""

#: Records of each request whether its body was complete.
JUDGES_BODIES = serving("""
async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    try:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
            open("begun", "w").close()
        await reader.readexactly(2)
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        open("broken", "w").close()
        return
    open("whole", "w").close()
    writer.write(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
""")


@asynccontextmanager
async def way(settings: Settings, role: str, shapes: Shapes | None = None) -> AsyncIterator[tuple[Agent, Peer, Relay]]:
    """An agent in one of its roles, and its router, with a relay between them."""
    if role == "accepted":
        async with (
            running_agent(settings) as agent,
            relay(agent.rpc_port, shapes) as between,
            peers.dial(between.port, TOKEN, ping_interval=None) as peer,
        ):
            yield agent, peer, between
            peer.socket.transport.abort()
        return
    async with (
        peers.listen() as listener,
        relay(listener.port, shapes) as between,
        running_agent(dials(settings, between)) as agent,
    ):
        peer = await listener.accepted()
        yield agent, peer, between
        peer.socket.transport.abort()


def dials(settings: Settings, between: Relay) -> Settings:
    client = ClientSettings(enabled=True, address=f"127.0.0.1:{between.port}", reconnect_delay=0.02)
    return replace(settings, client=client)


async def sleeping(peer: Peer, **options: Any) -> tuple[str, int]:
    """Start a job; return its uid and pid."""
    job = (await peer.call("job_create", **options))["uid"]
    info = await peer.call("job_start", job, ["sleep", "600"], {}, port_expected_count=0)
    return job, info["pid"]


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


# --- bytes in other pieces, and late --------------------------------------------------------------------------

SHAPES = {
    "trickled": Shape(piece=1),
    "split": Shape(piece=700, irregular=True),
    "merged": Shape(gather=50_000),
    "late": Shape(delay_s=(0.01, 0.03)),
    "late and split": Shape(delay_s=(0.0, 0.02), piece=5000, irregular=True),
}


async def echoed(peer: Peer, job: str, messages: list[str | bytes]) -> list[Any]:
    """Return the echoes of a WebSocket of the job."""
    call = await peer.start(BISTREAM, "ws_connect", job, "/", [], [])
    assert (await peer.next_of(call))[2] is True
    for message in messages:
        await peer.data(call, message)
    got = [(await peer.next_of(call))[2] for _ in messages]
    await peer.end(call)
    assert await peer.outcome(call) == ([], None)
    return got


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_all_traffic_arrives_whole(settings: Settings, role: str, shape: Shape) -> None:
    scale = 1 if shape.piece == 1 else 100
    noise = random.Random(0).randbytes(3_000 * scale)
    async with way(settings, role, both(shape)) as (agent, peer, _):
        page, socket = await start_program(peer, ECHO), await start_program(peer, WEBSOCKET_ECHO)
        assert [info["uid"] for info in await peer.call("job_list")] == [page, socket]

        answers = await asyncio.gather(*(peer.http(page, "POST", f"/{n}", body=[noise[:n], noise[n:]]) for n in (1, 2)))
        for n, (status, _, body) in zip((1, 2), answers, strict=True):
            assert status == 200
            assert b"".join(body).startswith(b"POST /%d " % n)
            assert b"".join(body).endswith(noise)

        sizes = [0, 1, 125, 126, 1000] + ([65_535, 65_536, 200_000] if scale > 1 else [])
        messages: list[str | bytes] = [message for n in sizes for message in (noise[:n], "ü" * (n // 2))]
        assert await echoed(peer, socket, messages) == messages

        assert await upload(peer, page, "file", noise) == len(noise)
        assert (sandbox_of(agent, page) / "file").read_bytes() == noise
        assert (await download(peer, page, "file")).data == noise

        calls = [await peer.start(peers.UNARY, "job_info", job) for job in (page, socket) * 10]
        assert [(await peer.outcome(call))[1]["uid"] for call in calls] == [page, socket] * 10


async def test_windows_grow_with_the_round_trip_and_lose_no_data(settings: Settings, tmp_path: Path) -> None:
    """Between peers with flow control."""
    noise = random.Random(1).randbytes(6_000_000)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(noise)
    shapes = both(Shape(delay_s=(0.01, 0.03)))
    async with (
        running_agent(settings) as agent,
        relay(agent.rpc_port, shapes) as between,
        connect_agent(f"127.0.0.1:{between.port}", token=TOKEN) as remote,
    ):
        job = await remote.create_job("far")
        await job.upload(source, "file")
        await job.download("file", target)
        assert target.read_bytes() == noise


# --- a slow way and a dead one ------------------------------------------------------------------------------------


async def test_a_slow_network_is_not_taken_for_a_dead_peer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its answers arrive several pings later, at irregular times. The limits are shorter here, by the same factor."""
    monkeypatch.setattr("pagent.net.link.liveness.PING_INTERVAL_S", 0.25)
    monkeypatch.setattr("pagent.net.link.liveness.SILENCE_MAX_S", 2.25)

    async def lives(role: str) -> None:
        async with way(settings, role, both(Shape(delay_s=(0.2, 0.5)))) as (agent, peer, between):
            clock = asyncio.get_running_loop().time
            quiet_until = clock() + 3.0  # longer than the silence of a dead peer: there are only pings
            await eventually(lambda: clock() > quiet_until)
            assert await peer.call("job_count_current_connection") == 0
            assert (between.made, len(agent.links)) == (1, 1)

    await asyncio.gather(*map(lives, ROLES))
    assert "the peer is gone" not in caplog.text


@pytest.mark.parametrize("role", ROLES)
async def test_a_network_that_drops_everything_is_noticed(
    settings: Settings, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagent.net.link.liveness.PING_INTERVAL_S", 0.05)
    async with way(settings, role) as (agent, peer, between):
        job, pid = await sleeping(peer)
        await upload(peer, job, "file", bytes(1_000_000))
        monkeypatch.setattr("pagent.net.link.liveness.SILENCE_MAX_S", 0.5)
        between.swallow()
        await peer.start(ISTREAM, "file_download", job, "file")
        await eventually(lambda: not exists(pid))
        await eventually(lambda: job not in [found.uid for found in agent.jobs.jobs()])
        if role == "dialled":
            await eventually(lambda: between.made == 2 and len(agent.links) == 1)


# --- ways that end ------------------------------------------------------------------------------------------------


def cuts(opening: tuple[int, int], step: int) -> list[Shapes]:
    """Return a shape of a connection for each place where a handshake of that size may be cut, up and down."""
    up, down = opening
    assert 300 < up < 3000
    assert 300 < down < 3000
    return [Shapes(up=Shape(cut_at=at)) for at in range(0, up, step)] + [
        Shapes(down=Shape(cut_at=at)) for at in range(0, down, step)
    ]


async def test_an_agent_whose_handshake_is_cut_anywhere_dials_again(settings: Settings) -> None:
    async with (
        peers.listen() as listener,
        relay(listener.port) as between,
        running_agent(dials(settings, between)) as agent,
    ):
        assert await lives(await listener.accepted())
        between.next_shapes = cuts(between.passed, 37)
        count = len(between.next_shapes)
        between.cut()
        while not await lives(await listener.accepted()):
            pass  # its reply was cut, or the call after it
        assert between.made == count + 2
        assert len(agent.links) == between.open == 1


async def lives(peer: Peer) -> bool:
    try:
        count: int = await peer.call("job_count_current_connection")
        return count == 0
    except (ConnectionError, websockets.ConnectionClosed):
        return False


async def test_connections_cut_in_their_handshake_leave_room_for_others(settings: Settings) -> None:
    async with way(settings, "accepted") as (agent, peer, between):
        between.next_shapes = cuts(between.passed, 2)
        assert len(between.next_shapes) > 64  # more than may wait at once, at each step
        while between.next_shapes:
            with pytest.raises((OSError, websockets.WebSocketException)):
                async with peers.dial(between.port, TOKEN):
                    pytest.fail("the opening was cut")
        async with peers.dial(between.port, TOKEN) as late:
            assert await late.call("job_count_current_connection") == 0
        assert await peer.call("job_count_current_connection") == 0
        await eventually(lambda: len(agent.links) == 1)


@pytest.mark.parametrize("role", ROLES)
async def test_a_lost_link_ends_its_jobs_except_those_with_linger(settings: Settings, role: str) -> None:
    async with way(settings, role) as (agent, peer, between):
        _, pid = await sleeping(peer)
        page = await start_program(peer, ECHO)
        lasting = (await peer.call("job_create", linger=LONG_S))["uid"]
        arguments = [sys.executable, "-c", ECHO, "{port}"]
        await peer.call("job_start", lasting, arguments, {}, port="auto", ready="connect")
        between.cut()
        await eventually(lambda: not exists(pid))
        await eventually(lambda: [job.uid for job in agent.jobs.jobs()] == [lasting])
        async with again(agent, role, between) as (router, _):
            assert await router.call("job_count_current_connection") == 0
            await router.call("job_adopt", lasting)
            assert await router.call("job_count_current_connection") == 1
            status, _, body = await router.http(lasting, "POST", "/", body=[b"still there"])
            assert status == 200
            assert b"".join(body).endswith(b"still there")
            with pytest.raises(CallFailed, match="JobNotFoundError"):
                await router.call("job_info", page)


@asynccontextmanager
async def again(agent: Agent, role: str, between: Relay) -> AsyncIterator[tuple[Peer, Relay]]:
    """A link of the same router after one that was lost: dialled again, by the test or by the agent."""
    if role == "accepted":
        async with peers.dial(between.port, TOKEN) as peer:
            yield peer, between
        return
    # The agent gives a dialled link's jobs to the same router: reach it where the relay leads now.
    async with peers.listen() as listener:
        between.target = listener.port
        between.cut()
        peer = await listener.accepted()
        yield peer, between
        peer.socket.transport.abort()


async def test_an_upload_continues_after_each_cut(settings: Settings) -> None:
    noise = random.Random(2).randbytes(3_000_000)
    async with (
        running_agent(settings) as agent,
        relay(agent.rpc_port) as between,
        peers.dial(agent.rpc_port, TOKEN) as owner,
    ):
        job, sandbox = await new_job(owner, agent, linger=LONG_S)
        starts: list[int] = []
        # The places are measured from the beginning of each connection.
        between.next_shapes = [Shapes(up=Shape(cut_at=at)) for at in (400, 1000, 300_001, 700_000, 1_234_567)]
        while not (sandbox / "file").exists():
            with suppress(OSError, websockets.WebSocketException):
                async with peers.dial(between.port, TOKEN) as peer:
                    await continue_upload(peer, job, noise, starts)
            # The agent may notice the cut, and read the data before it, only later.
            await eventually(lambda: between.open == 0 and len(agent.links) == 1 and not open_uploads(sandbox))
        assert (sandbox / "file").read_bytes() == noise
        assert os.listdir(sandbox) == ["file"]
    assert starts == sorted(starts)
    assert starts[0] == 0
    # Received data was not sent again, except the data under way at each cut.
    assert starts[-1] > 0


async def continue_upload(peer: Peer, job: str, whole: bytes, starts: list[int]) -> None:
    """Send the missing part of a file; append its offset to ``starts``."""
    try:
        kept = (await peer.call("file_stat", job, "file.pagent-partial"))["size"]
    except CallFailed as error:
        assert error.cause == "FileNotFoundError"  # noqa: PT017 - nothing has come yet
        kept = 0
    starts.append(kept)
    digest = hashlib.sha256(whole).hexdigest()
    call = await peer.start(OSTREAM, "file_upload", job, "file", partial=True, offset=kept, sha256=digest)
    for at in range(kept, len(whole), 50_000):
        await peer.data(call, whole[at : at + 50_000])
    await peer.end(call)
    assert await peer.outcome(call) == ([], len(whole) - kept)


def open_uploads(sandbox: Path) -> list[str]:
    """Return the unfinished files of uploads."""
    return [name for name in os.listdir(sandbox) if name.startswith(".pagent-upload-")]


@pytest.mark.parametrize("at", [2_000, 50_000, 333_333])
async def test_a_cut_websocket_message_never_reaches_the_job(agent: Agent, at: int) -> None:
    async with peers.dial(agent.rpc_port, TOKEN) as owner, relay(agent.rpc_port) as between:
        job = (await owner.call("job_create"))["uid"]
        arguments = [sys.executable, "-c", WEBSOCKET_ECHO, "{port}"]
        await owner.call("job_start", job, arguments, {}, port="auto", ready="connect")
        between.shapes = Shapes(up=Shape(cut_at=at))
        with suppress(ConnectionError, websockets.ConnectionClosed):
            async with peers.dial(between.port, TOKEN) as peer:
                call = await peer.start(BISTREAM, "ws_connect", job, "/", [], [])
                assert (await peer.next_of(call))[2] is True
                for _ in range(100):
                    await peer.data(call, bytes(10_000))
                await peer.outcome(call)
        got = sandbox_of(agent, job) / "got"
        await eventually(lambda: got.exists() and "closed" in got.read_text())
        *messages, end = got.read_text().splitlines()
        assert messages == ["bytes 10000"] * len(messages)
        assert len(messages) <= at // 10_000  # the following ones may be lost with it
        assert end.startswith("closed")


async def test_a_cut_body_is_not_taken_for_a_whole_one(agent: Agent) -> None:
    async with peers.dial(agent.rpc_port, TOKEN) as owner:
        job = await start_program(owner, JUDGES_BODIES)
        begun = sandbox_of(agent, job) / "begun"
        async with peers.dial(agent.rpc_port, TOKEN) as peer:
            fields = [["Transfer-Encoding", "chunked"]]
            call = await peer.start(BISTREAM, "http_request", job, "POST", "/", [], fields)
            await peer.data(call, bytes(1000))
            await eventually(begun.exists)
            peer.socket.transport.abort()
        sandbox = sandbox_of(agent, job)
        await eventually((sandbox / "broken").exists)
        assert (sandbox / "begun").exists()
        assert not (sandbox / "whole").exists()
