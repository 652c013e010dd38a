"""Bodies that come faster than the job takes them, from a peer that knows no flow control."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.kit.peer import BISTREAM, Peer
from tests.kit.programs import start_program
from tests.kit.transfers import eventually, spooled

#: Accepts and reads, a body for /held not before a request for /go; answers with the number of connections so
#: far and the SHA-256 of the body.
SINK = """
import hashlib, socket, sys, threading
accepted = 0
go = threading.Event()
def serve(connection, number):
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        if not (piece := connection.recv(65536)):
            return
        data += piece
    head, _, body = data.partition(b"\\r\\n\\r\\n")
    target = head.split(b" ")[1]
    if target == b"/go":
        go.set()
    elif target == b"/held":
        go.wait()
    length = sum(int(f.split(b":")[1]) for f in head.lower().split(b"\\r\\n") if f.startswith(b"content-length"))
    digest, done = hashlib.sha256(body), len(body)
    while done < length and (piece := connection.recv(1 << 20)):
        digest.update(piece)
        done += len(piece)
    answer = f"{number} {digest.hexdigest()}".encode()
    head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % len(answer)
    connection.sendall(head + answer)
    connection.close()
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
while True:
    connection, _ = listening.accept()
    accepted += 1
    threading.Thread(target=serve, args=(connection, accepted), daemon=True).start()
"""

PIECE = bytes(range(256)) * 256


async def send(peer: Peer, job: str, pieces: int, target: str) -> int:
    """Send a body without waiting for anything; the call that it belongs to."""
    length = [["Content-Length", str(pieces * len(PIECE))]]
    call = await peer.start(BISTREAM, "http_request", job, "POST", target, [], length)
    for _ in range(pieces):
        await peer.data(call, PIECE)
    await peer.data(call, b"")
    return call


async def answer(peer: Peer, call: int) -> str:
    """The answer of the job."""
    values, _ = await peer.outcome(call)
    assert values[0] == 200
    return b"".join(values[2:]).decode()


def digest(pieces: int) -> str:
    return hashlib.sha256(PIECE * pieces).hexdigest()


async def test_a_body_received_during_the_connect_is_sent_on_that_connection(peer: Peer) -> None:
    job = await start_program(peer, SINK)
    for number in (1, 2):
        assert await answer(peer, await send(peer, job, 400, "/")) == f"{number} {digest(400)}"


async def test_a_slow_job_gets_the_whole_body_in_order(peer: Peer, tmp_path: Path) -> None:
    """More than the kernel and the memory of the stream hold: it goes over the disk."""
    job = await start_program(peer, SINK)
    call = await send(peer, job, 640, "/held")
    await eventually(lambda: spooled(tmp_path) > 8 << 20)
    assert (await peer.http(job, "GET", "/go"))[0] == 200
    assert (await answer(peer, call)).split()[1] == digest(640)


async def test_a_slow_job_delays_no_other(peer: Peer) -> None:
    job, other = await start_program(peer, SINK), await start_program(peer, SINK)
    stalled = await send(peer, job, 400, "/held")
    assert (await answer(peer, await send(peer, other, 100, "/"))).split()[1] == digest(100)
    await peer.cancel(stalled)
    assert await peer.call("job_count_current_connection") == 2
