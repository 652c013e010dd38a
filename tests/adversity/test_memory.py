"""All streams of all links together keep no more in memory than ``proxy.memory_max`` (and a tenth)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.kit import peer as peers
from tests.kit.agents import TOKEN, AgentProcess, agent_process
from tests.kit.peer import BISTREAM, PATIENCE_S, Peer
from tests.kit.programs import ECHO, start_program

LIMIT = 64 << 20
PIECE = bytes(256 << 10)

#: Accepts and does not read. Of a WebSocket it reads the handshake, then sends the data that the path names.
STALLED = """
import socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1000)
kept = []
while True:
    kept.append(listening.accept()[0])
"""

#: Answers each upgrade, and then begins a message of 3 MiB of which the last byte never comes.
UNFINISHED = """
import base64, hashlib, socket, sys, threading
SIZE = 3 << 20
def serve(connection):
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            return
        head += piece
    fields = dict(field.split(b": ", 1) for field in head.lower().split(b"\\r\\n")[1:] if b": " in field)
    given = [f for f in head.split(b"\\r\\n") if f.lower().startswith(b"sec-websocket-key")][0].split(b": ")[1]
    accept = base64.b64encode(hashlib.sha1(given + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
                       b"Sec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n")
    try:
        connection.sendall(b"\\x82\\x7f" + SIZE.to_bytes(8, "big") + bytes(SIZE - 1))
        while connection.recv(65536):
            pass
    except OSError:
        pass
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1000)
while True:
    connection = listening.accept()[0]
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"""


def resident_bytes(agent: AgentProcess) -> int:
    pages = int(Path(f"/proc/{agent.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def stalled_upload(peer: Peer, job: str, pieces: int) -> int:
    length = [["Content-Length", str(1 << 30)]]
    call = await peer.start(BISTREAM, "http_request", job, "POST", "/", [], length)
    for _ in range(pieces):
        await peer.data(call, PIECE)
    return call


@pytest.mark.slow
async def test_stalled_uploads(tmp_path: Path) -> None:
    async with (
        agent_process(tmp_path, "--set", f"proxy.memory_max={LIMIT}") as agent,
        peers.dial(agent.ports["rpc"], TOKEN) as peer,
    ):
        job = await start_program(peer, STALLED)
        echo = await start_program(peer, ECHO)
        await peer.http(echo, "POST", body=[PIECE] * 8)  # memory that is needed once is allocated now
        before = resident_bytes(agent)
        calls = [await stalled_upload(peer, job, 16) for _ in range(150)]
        assert await peer.call("job_count_current_connection") == 2
        assert resident_bytes(agent) - before < 1.1 * LIMIT
        for call in calls:
            await peer.cancel(call)
        assert await peer.call("job_count_current_connection") == 2
        # Their memory is free again: a large body is not spooled.
        status, _, body = await peer.http(echo, "POST", body=[PIECE] * 8)
        assert status == 200
        assert sum(map(len, body)) > 8 * len(PIECE)


@pytest.mark.slow
async def test_unfinished_messages_of_websockets(tmp_path: Path) -> None:
    async with (
        agent_process(tmp_path, "--set", f"proxy.memory_max={LIMIT}") as agent,
        peers.dial(agent.ports["rpc"], TOKEN) as peer,
    ):
        job = await start_program(peer, UNFINISHED)
        before = resident_bytes(agent)
        calls = [await peer.start(BISTREAM, "ws_connect", job, "/", [], [], subprotocols=[]) for _ in range(60)]
        refused = [await first_refusal(peer, calls)]
        assert refused[0]["code"] == 1009
        assert "proxy.memory_max" in refused[0]["reason"]
        assert resident_bytes(agent) - before < 1.1 * LIMIT


async def first_refusal(peer: Peer, calls: list[int]) -> dict[str, Any]:
    """Return the result of the first call that ends."""
    outcomes = [asyncio.ensure_future(peer.outcome(call)) for call in calls]
    try:
        async with asyncio.timeout(PATIENCE_S):
            done, _ = await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)
        result: dict[str, Any] = done.pop().result()[1]
        return result
    finally:
        for outcome in outcomes:
            outcome.cancel()
        await asyncio.wait(outcomes)
