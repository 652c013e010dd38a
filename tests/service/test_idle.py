"""The clocks of jobs and ``idle_after``, with real programs."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.limits import MESSAGE_COST_MIN
from pagent.wire.frame_encoding import masked_frame
from pagent.wire.frames import PONG, TEXT
from pagent.wire.messages import CALLER_CREDIT
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import BISTREAM, CallFailed, Peer
from tests.kit.programs import serving

#: /hold is answered after the client's next byte; /ws is a WebSocket whose frames come back, and that is never silent.
SERVER = serving("""
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            if b" /ws " in head:
                writer.write(b"HTTP/1.1 101 x\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n")
                while data := await reader.read(65536):
                    writer.write(data)
                return writer.close()
            if b" /hold " in head:
                await reader.readexactly(1)
            elif b"Content-Length" in head:
                await reader.readexactly(4)
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
""")

UPGRADE = [["Connection", "Upgrade"], ["Upgrade", "websocket"], ["Host", "x"]]
#: Long enough for the calls of a test meanwhile.
IDLE_S = 1.0


@pytest.fixture
async def ours(agent: Agent) -> AsyncIterator[Peer]:
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow"], instance="one", uid="ours") as dialled:
        yield dialled


async def served(peer: Peer, **terms: Any) -> str:
    job = str((await peer.call("job_create", **terms))["uid"])
    args = [sys.executable, "-c", SERVER, "{port}"]
    await peer.call("job_start", job, args, None, port="auto", ready="connect", port_expected_count=1)
    return job


async def clocks(peer: Peer, job: str) -> tuple[int, bool, bool]:
    """The open streams, whether there was a request, and whether there was input."""
    info = await peer.call("job_info", job)
    return info["open_streams"], info["last_request_at"] is not None, info["last_input_at"] is not None


async def upgraded(peer: Peer, job: str) -> int:
    call = await peer.start(BISTREAM, "http_request", job, "GET", "/ws", [], UPGRADE, raw=True, upgrade=True)
    assert (await peer.next_of(call))[2] == 101
    await peer.next_of(call)  # its fields
    return call


async def test_the_clocks_of_requests(ours: Peer) -> None:
    job = await served(ours)
    assert await clocks(ours, job) == (0, False, False)
    call = await ours.start(BISTREAM, "http_request", job, "GET", "/hold", [], [["Host", "x"]], raw=True)
    assert await clocks(ours, job) == (1, True, False)
    await ours.cancel(call)
    assert await clocks(ours, job) == (0, True, False)
    await ours.http(job, "POST", "/", headers=[["Content-Length", "4"]], body=[b"body"])
    assert await clocks(ours, job) == (0, True, True)


async def test_the_clocks_of_an_upgrade(ours: Peer) -> None:
    job = await served(ours)
    call = await upgraded(ours, job)
    pong = bytes(masked_frame(PONG, b"beat"))
    await ours.data(call, pong)
    assert (await ours.next_of(call))[2] == pong
    assert await clocks(ours, job) == (1, True, False)
    await ours.data(call, masked_frame(TEXT, b"typed"))
    await ours.next_of(call)
    assert await clocks(ours, job) == (1, True, True)
    await ours.data(call, b"")
    await ours.outcome(call)
    assert await clocks(ours, job) == (0, True, True)


async def test_the_clocks_of_a_tunnel(ours: Peer) -> None:
    job = await served(ours)
    call = await ours.start(BISTREAM, "tcp_connect", job)
    assert (await ours.next_of(call))[2] is True
    assert await clocks(ours, job) == (1, True, False)
    await ours.data(call, b"GET / HTTP/1.1\r\n\r\n")
    await ours.next_of(call)
    assert await clocks(ours, job) == (1, True, True)
    await ours.cancel(call)
    assert await clocks(ours, job) == (0, True, True)


async def test_the_clocks_of_a_process(ours: Peer) -> None:
    job = await served(ours)
    call = await ours.start(BISTREAM, "job_exec", job, ["cat"])
    await ours.data(call, b"typed")
    assert (await ours.next_of(call))[2] == b"typed"
    assert await clocks(ours, job) == (1, True, True)
    await ours.data(call, b"")
    await ours.outcome(call)
    assert (await clocks(ours, job))[0] == 0


async def test_calls_that_fail_leave_no_open_stream(ours: Peer, agent: Agent) -> None:
    job = await served(ours)
    for method, *arguments in (
        ("http_request", "GET", 1, [], []),
        ("ws_connect", "/", [], []),
        ("job_exec", ["/no/such/program"]),
    ):
        call = await ours.start(
            BISTREAM, method, job, *arguments, **({} if method != "http_request" else {"raw": True})
        )
        with pytest.raises(CallFailed):
            await ours.outcome(call)
    assert (await clocks(ours, job))[0] == 0
    async with peers.dial(agent.rpc_port, TOKEN, instance="two", uid="ours") as other:
        await upgraded(other, job)
        await other.start(BISTREAM, "tcp_connect", job)
        assert (await clocks(other, job))[0] == 2
    while (await clocks(ours, job))[0]:
        pass  # until the agent has seen the end of the link


async def test_a_job_without_use_is_ended(ours: Peer) -> None:
    job = await served(ours, idle_after=0.1)
    info = await ours.call("job_wait", job)
    assert (info["state"], info["error"], info["signal"]) == ("FINISHED", "idle", "SIGTERM")
    assert (await ours.call("job_list"))[0]["uid"] == job


async def test_an_open_tab_that_only_answers_pings_is_idle(ours: Peer) -> None:
    job = await served(ours, idle_after=IDLE_S)
    call = await upgraded(ours, job)
    wait = await ours.start(peers.UNARY, "job_wait", job)
    while not ours.has_message(wait):
        await ours.data(call, masked_frame(PONG, b""))
        message = await ours.next_of(call)  # which the job sends back: output is no input
        await ours.send([CALLER_CREDIT, call, MESSAGE_COST_MIN])
        if message[0] == 7 or not message[2]:  # the job has ended, or its end of the connection
            break
    assert (await ours.outcome(wait))[1]["error"] == "idle"


async def test_a_request_that_waits_keeps_its_job(ours: Peer) -> None:
    job = await served(ours, idle_after=IDLE_S)
    call = await ours.start(BISTREAM, "http_request", job, "POST", "/hold", [], [["Content-Length", "1"]], raw=True)
    other = await served(ours, idle_after=IDLE_S)  # which begins later
    await ours.call("job_wait", other)
    assert (await ours.call("job_info", job))["state"] == "RUNNING"
    await ours.data(call, b"x")
    await ours.outcome(call)
    assert (await ours.call("job_wait", job))["error"] == "idle"


async def test_the_time_begins_when_the_job_is_ready(ours: Peer) -> None:
    job = str((await ours.call("job_create", idle_after=0.1))["uid"])
    script = f"import time; time.sleep(0.5)\n{SERVER}"
    args = [sys.executable, "-c", script, "{port}"]
    started = await ours.call("job_start", job, args, None, port="auto", ready="connect")
    assert started["state"] == "RUNNING"
    assert (await ours.call("job_wait", job))["error"] == "idle"


async def test_a_job_that_ends_first_is_not_idle(ours: Peer) -> None:
    job = str((await ours.call("job_create", idle_after=60.0))["uid"])
    await ours.call("job_start", job, ["sh", "-c", "exit 3"], None, port_expected_count=0)
    info = await ours.call("job_wait", job)
    assert (info["exit_code"], info["error"]) == (3, None)


@pytest.mark.parametrize("idle_after", [0, -1, "1", float("nan"), 1e12, True, []])
async def test_a_wrong_time(ours: Peer, idle_after: Any) -> None:
    with pytest.raises(CallFailed, match="idle_after"):
        await ours.call("job_create", idle_after=idle_after)
