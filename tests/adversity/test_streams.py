"""Streams that stall, and others that must not be delayed by them (docs/contract.rst, "Streams")."""

from __future__ import annotations

from typing import Any

import pytest

from pagent.agent import Agent
from pagent.buffers import BODY_CHUNK
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import BISTREAM, ISTREAM, Peer
from tests.kit.programs import ECHO, start_program
from tests.kit.transfers import eventually, new_job, upload

#: Accepts, and does not read.
UNREADING = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
kept = []
while True:
    kept.append(server.accept())
"""

MIB = 1 << 20


async def test_a_job_that_does_not_read_stalls_no_other_stream(peer: Peer) -> None:
    unreading, echo = await start_program(peer, UNREADING), await start_program(peer, ECHO)
    stalled = await peer.start(BISTREAM, "tcp_connect", unreading)
    assert (await peer.next_of(stalled))[2] is True
    for _ in range(64):
        await peer.data(stalled, b"x" * (MIB // 4))
    for _ in range(5):
        status, _, body = await peer.http(echo, "POST", "/", body=[b"quick"])
        assert status == 200
        assert b"".join(body).endswith(b"quick")
    await peer.cancel(stalled)
    assert (await peer.call("job_info", unreading))["state"] == "RUNNING"


@pytest.mark.parametrize("value", [b"", "", b"x"])
async def test_tiny_messages_for_a_job_that_does_not_read_are_bounded(agent: Agent, peer: Peer, value: Any) -> None:
    unreading = await start_program(peer, UNREADING)
    call_id = await peer.start(BISTREAM, "ws_connect", unreading, "/", [], [])
    for _ in range(18_000):
        await peer.data(call_id, value)
    assert await peer.call("job_count_current_connection") == 1
    (connection,) = agent.links.open
    stream = connection.incoming[call_id].stream
    assert stream is not None
    assert stream.receiving.kept_messages <= MIB // 64
    await peer.cancel(call_id)


async def test_bulk_leaves_room_for_small_messages_and_is_cut(agent: Agent, peer: Peer) -> None:
    job, _ = await new_job(peer, agent)
    await upload(peer, job, "big", *([b"\x55" * MIB] * 32))
    bulk = await peer.start(ISTREAM, "file_download", job, "big", chunk_size=64 * MIB)
    for _ in range(20):
        assert (await peer.call("job_info", job))["uid"] == job
    values, result = await peer.outcome(bulk)
    assert result == 32 * MIB
    assert max(len(value) for value in values[1:]) <= MIB


async def test_a_body_is_sent_in_pieces(peer: Peer) -> None:
    echo = await start_program(peer, ECHO)
    _, _, body = await peer.http(echo, "POST", "/", headers=[("Content-Length", str(5 * MIB))], body=[b"b" * (5 * MIB)])
    assert sum(map(len, body)) > 5 * MIB
    assert max(map(len, body)) <= BODY_CHUNK


async def test_a_peer_that_does_not_read_delays_no_other_link(agent: Agent, peer: Peer) -> None:
    async with peers.dial(agent.rpc_port, TOKEN) as stalled:
        job, _ = await new_job(stalled, agent)
        await upload(stalled, job, "big", *([b"\x55" * MIB] * 16))
        stalled.socket.transport.pause_reading()
        for _ in range(4):
            await stalled.start(ISTREAM, "file_download", job, "big")
        for _ in range(20):
            assert await peer.call("job_count_current_connection") == 0
        await eventually(lambda: any(len(connection.incoming) == 4 for connection in agent.links.open))
        link = next(connection.link for connection in agent.links.open if len(connection.incoming) == 4)
        await eventually(lambda: link.blocked)
        assert link.unsent_bytes < 3 * MIB
        stalled.socket.transport.abort()
