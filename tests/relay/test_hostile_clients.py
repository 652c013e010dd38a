"""Clients of a router that flood it, stall, or send what makes no sense. Others, and agents, do not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client import AgentClient
from pagent.limits import KIB, MESSAGE_MAX_FOREIGN, MIB, STREAM_WINDOW, STREAM_WINDOW_MAX
from pagent.router import Router
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.field_agent import field_agent
from tests.kit.peer import BISTREAM, ISTREAM, PATIENCE_S, UNARY, CallFailed, Peer
from tests.kit.routers import connected
from tests.kit.transfers import eventually, sandbox_of

#: The most bytes of one stream on their way through a router: a window on each link, which grows on fast links, and the
#: messages that exceed them.
MOST = 2 * (STREAM_WINDOW_MAX + 256 * KIB)
SERVER_ERROR = 30


@pytest.fixture
def calls_max(monkeypatch: pytest.MonkeyPatch) -> int:
    """Lower the limit of a client's calls. Tests name this fixture before the router's."""
    monkeypatch.setattr("pagent.router.CALLS_PER_CLIENT", 20)
    return 20


@pytest.fixture
async def hostile(router: Router, agent: Agent) -> AsyncIterator[Peer]:
    async with peers.dial(router.control_port, "any", extensions=["flow"], instance="h", uid="hostile") as peer:
        yield peer


async def running_job(peer: Peer) -> str:
    job: str = (await peer.call("job_create"))["uid"]
    await peer.call("job_start", job, ["sleep", "1000"], {}, None, 0)
    return job


async def test_messages_that_make_no_sense_end_their_own_calls(hostile: Peer, client: AgentClient) -> None:
    job = await running_job(hostile)
    for nonsense in ([2, 0, UNARY, "job_info", [job], {}], [4, 0, b"data"], [5, 0], [11, 0, 5]):
        call = await hostile.start(UNARY, "job_wait", job)
        nonsense[1] = call
        await hostile.send(nonsense)
        if nonsense[0] == 11:
            await hostile.cancel(call)
            continue
        with pytest.raises(CallFailed) as failed:
            await hostile.outcome(call)
        assert failed.value.status == SERVER_ERROR
    for call_type, method in ((BISTREAM, "job_info"), (UNARY, "http_request"), (99, "job_info")):
        with pytest.raises(CallFailed) as failed:
            await hostile.outcome(await hostile.start(call_type, method, job))
        assert failed.value.status == SERVER_ERROR
    assert (await hostile.call("job_info", job))["state"] == "RUNNING"
    assert (await (await client.job(job)).info())["state"] == "RUNNING"


async def test_a_flood_of_calls_is_refused_and_leaves_room_for_others(
    calls_max: int, router: Router, agent: Agent, hostile: Peer, client: AgentClient
) -> None:
    job = await running_job(hostile)
    calls = [await hostile.start(UNARY, "job_wait", job) for _ in range(calls_max + 5)]
    for call in calls[calls_max:]:
        with pytest.raises(CallFailed, match=f"more than {calls_max} calls at once"):
            await hostile.outcome(call)
    assert (await (await client.job(job)).info())["state"] == "RUNNING"
    await hostile.close()
    link = await connected(router, "A")
    async with asyncio.timeout(PATIENCE_S):
        await link.calls_ended()


async def test_a_stalled_client_with_many_calls_stops_at_its_windows(
    router: Router, agent: Agent, hostile: Peer, client: AgentClient
) -> None:
    """It never gives credit. The count is of bytes that have left the agent."""
    job = await running_job(hostile)
    (sandbox_of(agent, job) / "big").write_bytes(bytes(8 * MIB))
    calls = [await hostile.start(ISTREAM, "file_download", job, "big", 256 * KIB) for _ in range(50)]
    link = await connected(router, "A")

    def waiting() -> list[Any]:
        streams = [call.stream for call in link.connection.outgoing.values() if call.method == "file_download"]
        return [stream for stream in streams if stream is not None and stream.receiving.kept_bytes >= STREAM_WINDOW]

    await eventually(lambda: len(waiting()) == len(calls))
    for stream in waiting():
        assert STREAM_WINDOW <= stream.receiving.kept_bytes <= MOST // 2
    assert (await (await client.job(job)).read("big", length=10)) == bytes(10)
    received = [await _received(hostile, call) for call in calls]
    assert max(received) <= MOST // 2
    assert min(received) >= STREAM_WINDOW


async def _received(peer: Peer, call: int) -> int:
    total = 0
    while peer.has_message(call):
        message = await peer.next_of(call)
        total += len(message[2]) if isinstance(message[2], bytes) else 0
    return total


async def test_a_job_that_does_not_read_stops_the_client(router: Router, agent: Agent, hostile: Peer) -> None:
    job = await running_job(hostile)
    call = await hostile.start(BISTREAM, "job_exec", job, ["sleep", "1000"])
    piece = bytes(64 * KIB)
    credit, sent, patience_s = STREAM_WINDOW, 0, PATIENCE_S  # the process has to start first
    while True:
        while credit > 0:
            await hostile.data(call, piece)
            credit, sent = credit - len(piece), sent + len(piece)
        try:
            async with asyncio.timeout(patience_s):
                message = await hostile.next_of(call)
        except TimeoutError:
            break
        assert message[0] == 11
        credit, patience_s = credit + message[2], 1.0
    assert STREAM_WINDOW < sent <= MOST + 256 * KIB  # the pipe, and what waits for it


async def test_arguments_that_an_agent_of_the_field_does_not_take_end_their_call_only(router: Router) -> None:
    long = "x" * MESSAGE_MAX_FOREIGN
    async with (
        field_agent("F", router.server_port, TOKEN),
        peers.dial(router.control_port, "any", extensions=["flow"], instance="h") as hostile,
    ):
        link = await connected(router, "F")
        job = (await hostile.call("job_create", "name"))["uid"]
        with pytest.raises(CallFailed, match="the arguments are longer than"):
            await hostile.call("job_start", job, ["true", long], {})
        with pytest.raises(CallFailed, match="the arguments are longer than"):
            await hostile.outcome(await hostile.start(BISTREAM, "http_request", job, "GET", long, [], []))
        call = await hostile.start(peers.OSTREAM, "file_upload", job, "f")
        await hostile.data(call, long.encode())
        with pytest.raises(CallFailed, match="a stream message is longer than"):
            await hostile.outcome(call)
        assert link.is_open
        assert (await hostile.call("job_info", job))["uid"] == job
