"""Bodies that come faster than the job takes them, from a peer that knows no flow control."""

from __future__ import annotations

import hashlib

from tests.kit.peer import BISTREAM, Peer
from tests.kit.programs import start_program

#: Accepts, waits for the milliseconds that the target says, then reads; answers with the number of
#: connections so far and the SHA-256 of the body.
SINK = """
import hashlib, socket, sys, threading, time
accepted = 0
def serve(connection, number):
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        if not (piece := connection.recv(65536)):
            return
        data += piece
    head, _, body = data.partition(b"\\r\\n\\r\\n")
    time.sleep(int(head.split(b" ")[1][1:]) / 1000)
    length = next(int(f.split(b":")[1]) for f in head.lower().split(b"\\r\\n") if f.startswith(b"content-length"))
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


async def upload(peer: Peer, job: str, pieces: int, wait_ms: int) -> str:
    """Send a body without waiting for anything; what the job answered."""
    length = [["Content-Length", str(pieces * len(PIECE))]]
    call = await peer.start(BISTREAM, "http_request", job, "POST", f"/{wait_ms}", [], length)
    for _ in range(pieces):
        await peer.data(call, PIECE)
    await peer.data(call, b"")
    values, _ = await peer.outcome(call)
    assert values[0] == 200
    return b"".join(values[2:]).decode()


def digest(pieces: int) -> str:
    return hashlib.sha256(PIECE * pieces).hexdigest()


async def test_a_body_that_comes_while_its_connection_is_made_goes_to_that_one(peer: Peer) -> None:
    """The readiness check of the start was the first connection."""
    job = await start_program(peer, SINK)
    assert await upload(peer, job, 400, 0) == f"2 {digest(400)}"
    assert await upload(peer, job, 400, 0) == f"3 {digest(400)}"


async def test_a_job_that_takes_its_time_gets_all_of_it_in_order(peer: Peer) -> None:
    """More than the kernel and the memory of the stream hold: it goes over the disk."""
    job = await start_program(peer, SINK)
    assert (await upload(peer, job, 640, 300)).split()[1] == digest(640)


async def test_a_job_that_takes_its_time_holds_up_nobody(peer: Peer) -> None:
    job, other = await start_program(peer, SINK), await start_program(peer, SINK)
    length = [["Content-Length", str(400 * len(PIECE))]]
    stalled = await peer.start(BISTREAM, "http_request", job, "POST", "/600000", [], length)
    for _ in range(400):
        await peer.data(stalled, PIECE)
    assert (await upload(peer, other, 100, 0)).split()[1] == digest(100)
    await peer.cancel(stalled)
    assert await peer.call("job_count_current_connection") == 2
