"""All streams of all links together keep no more in memory than ``proxy.memory_max`` (and a tenth)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.kit import peer as peers
from tests.kit.agents import TOKEN, AgentProcess, agent_process
from tests.kit.peer import BISTREAM, Peer
from tests.kit.programs import ECHO, start_program

LIMIT = 64 << 20
PIECE = bytes(256 << 10)

#: Accepts and reads nothing. The kernel takes little for it, so that the agent has to keep the data.
STALLED = """
import socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1000)
listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
kept = []
while True:
    kept.append(listening.accept()[0])
"""

#: Answers each upgrade, and then begins a message of which the last byte never comes.
UNFINISHED = """
import base64, hashlib, socket, sys, threading
SIZE = UNFINISHED_SIZE
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
@pytest.mark.parametrize("extensions", [None, ["flow"]], ids=["without credit", "with credit"])
async def test_a_thousand_stalled_uploads(tmp_path: Path, extensions: list[str] | None) -> None:
    """Half of them are of a peer without credit in both cases."""
    async with (
        agent_process(tmp_path, "--set", f"proxy.memory_max={LIMIT}") as agent,
        peers.dial(agent.ports["rpc"], TOKEN) as field,
        peers.dial(agent.ports["rpc"], TOKEN, extensions=extensions) as peer,
    ):
        job, echo = await start_program(field, STALLED), await start_program(field, ECHO)
        await field.http(echo, "POST", body=[PIECE] * 8)  # memory that is needed once is allocated now
        before = resident_bytes(agent)
        calls = [await stalled_upload(field, job, 6) for _ in range(500)]
        more = [await stalled_upload(peer, job, 6 if extensions is None else 1) for _ in range(500)]
        for end in (field, peer):
            assert (await end.call("job_info", job))["state"] == "RUNNING"
        assert resident_bytes(agent) - before < 1.1 * LIMIT
        for call in calls:
            await field.cancel(call)
        for call in more:
            await peer.cancel(call)
        # Their memory is free again: a large body is not spooled.
        status, _, body = await field.http(echo, "POST", body=[PIECE] * 8)
        assert status == 200
        assert sum(map(len, body)) > 8 * len(PIECE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extensions", "count", "size"),
    [(None, 100, 3 << 20), (["flow"], 200, 5_033_164)],
    ids=["3 MiB without extensions", "4.8 MiB"],
)
async def test_unfinished_messages_of_websockets(
    tmp_path: Path, extensions: list[str] | None, count: int, size: int
) -> None:
    async with (
        agent_process(tmp_path, "--set", f"proxy.memory_max={LIMIT}") as agent,
        peers.dial(agent.ports["rpc"], TOKEN, extensions=extensions) as peer,
    ):
        job = await start_program(peer, UNFINISHED.replace("UNFINISHED_SIZE", str(size)))
        before = resident_bytes(agent)
        calls = [await peer.start(BISTREAM, "ws_connect", job, "/", [], [], subprotocols=[]) for _ in range(count)]
        for refusal in await refusals(peer, calls, count - LIMIT // size):
            assert refusal["code"] == 1009
            assert "proxy.memory_max" in refusal["reason"]
        assert resident_bytes(agent) - before < 1.1 * LIMIT


async def refusals(peer: Peer, calls: list[int], count: int) -> list[dict[str, Any]]:
    """Return the results of the first ``count`` calls that end."""
    outcomes = [asyncio.ensure_future(peer.outcome(call)) for call in calls]
    found: list[dict[str, Any]] = []
    try:
        for outcome in asyncio.as_completed(outcomes):
            found.append((await outcome)[1])
            if len(found) == count:
                return found
        raise AssertionError("too few calls have ended")
    finally:
        for outcome in outcomes:
            outcome.cancel()
        await asyncio.wait(outcomes)
