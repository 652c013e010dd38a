"""``tcp_connect`` end to end: raw bytes of a job's port, and the end of each direction."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client.agent import connect_agent
from tests.kit.agents import TOKEN
from tests.kit.peer import BISTREAM, PATIENCE_S, CallFailed, Peer
from tests.kit.programs import start_closed_program, start_program

#: The first byte names the case.
SERVER = """
import hashlib, socket, struct, sys, threading
def serve(connection):
    kind = connection.recv(1)
    if kind == b"e":  # echo, then end when the other side has
        while piece := connection.recv(65536):
            connection.sendall(piece)
    elif kind == b"d":  # digest of all that comes, after its end
        digest = hashlib.sha256()
        while piece := connection.recv(1 << 20):
            digest.update(piece)
        connection.sendall(digest.hexdigest().encode())
    elif kind == b"f":  # ends its direction first, and reports the bytes that come then
        connection.sendall(b"over")
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        reported.append(received)
    elif kind == b"t":
        connection.sendall(reported.pop() if reported else b"nothing")
    elif kind == b"w":  # has received the other side's end, and stays
        connection.recv(1)
        connection.sendall(b"received")
        threading.Event().wait()
    elif kind == b"c":  # waits for the end of the connection, which "l" reports
        connection.sendall(b"c")
        try:
            connection.recv(1)
        except ConnectionResetError:
            pass
        lost.set()
    elif kind == b"l":
        lost.wait()
        connection.sendall(b"lost")
    elif kind == b"b":
        for _ in range(1000):
            connection.sendall(bytes(65536))
    elif kind == b"r":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
reported = []
lost = threading.Event()
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
while True:
    connection, _ = listening.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"""

#: Speaks first.
GREETING = """
import socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
while True:
    connection, _ = listening.accept()
    try:
        connection.sendall(b"hello")
        connection.close()
    except OSError:
        pass
"""


@pytest.fixture
async def job(peer: Peer) -> str:
    return await start_program(peer, SERVER)


async def connect(peer: Peer, job: str, first: bytes = b"") -> int:
    call = await peer.start(BISTREAM, "tcp_connect", job)
    assert (await peer.next_of(call))[2] is True
    if first:
        await peer.data(call, first)
    return call


async def all_of(peer: Peer, call: int) -> bytes:
    """Return the bytes up to the end of the job's direction."""
    pieces = []
    while piece := (await peer.next_of(call))[2]:
        pieces.append(piece)
    return b"".join(pieces)


async def test_bytes_go_both_ways_until_both_ends(peer: Peer, job: str) -> None:
    call = await connect(peer, job, b"e")
    for piece in (b"a", b"\x00\xff", b"x" * 100_000):
        await peer.data(call, piece)
        received = b""
        while len(received) < len(piece):
            received += (await peer.next_of(call))[2]
        assert received == piece
    await peer.data(call, b"")
    assert await peer.outcome(call) == ([b""], None)


async def test_the_callers_end_comes_first(peer: Peer, job: str) -> None:
    """Its half-close reaches the job, which answers after it. The stream's close is one too."""
    for end in (peer.end, lambda call: peer.data(call, b"")):
        call = await connect(peer, job, b"d")
        for _ in range(160):
            await peer.data(call, bytes(65536))
        await end(call)
        values, _ = await peer.outcome(call)
        assert b"".join(values).decode() == hashlib.sha256(bytes(160 * 65536)).hexdigest()


async def test_the_jobs_end_comes_first(peer: Peer, job: str) -> None:
    call = await connect(peer, job, b"f")
    assert await all_of(peer, call) == b"over"
    await peer.data(call, b"more")
    await peer.data(call, b"")
    assert await peer.outcome(call) == ([], None)


async def test_a_large_answer(peer: Peer, job: str) -> None:
    call = await connect(peer, job, b"b")
    assert len(await all_of(peer, call)) == 1000 * 65536
    await peer.data(call, b"")
    assert await peer.outcome(call) == ([], None)


async def test_a_reset_is_no_end(peer: Peer, job: str) -> None:
    call = await connect(peer, job, b"r")
    with pytest.raises(CallFailed) as failed:
        await peer.outcome(call)
    assert failed.value.cause == "ConnectionResetError"


async def test_data_after_the_end_ends_the_call(peer: Peer, job: str) -> None:
    call = await connect(peer, job, b"w")
    await peer.data(call, b"")
    assert (await peer.next_of(call))[2] == b"received"
    await peer.data(call, b"more")
    with pytest.raises(CallFailed, match="after the end") as failed:
        await peer.outcome(call)
    assert failed.value.status == 30


async def test_what_is_no_bytes_ends_the_call(peer: Peer, job: str) -> None:
    call = await connect(peer, job, b"e")
    await peer.data(call, "text")
    with pytest.raises(CallFailed, match="carries bytes, not str") as failed:
        await peer.outcome(call)
    assert failed.value.status == 30


async def test_a_greeting_follows_the_answer(peer: Peer) -> None:
    job = await start_program(peer, GREETING)
    for _ in range(50):
        call = await connect(peer, job)
        assert await all_of(peer, call) == b"hello"
        await peer.data(call, b"")
        assert await peer.outcome(call) == ([], None)


async def test_cancel_closes_the_connection(peer: Peer, job: str) -> None:
    call = await connect(peer, job, b"c")
    assert (await peer.next_of(call))[2] == b"c"
    await peer.cancel(call)
    assert await all_of(peer, await connect(peer, job, b"l")) == b"lost"


async def test_a_port_without_a_listener(peer: Peer) -> None:
    job = await start_closed_program(peer)
    call = await peer.start(BISTREAM, "tcp_connect", job)
    assert (await peer.next_of(call))[2] is False
    with pytest.raises(CallFailed) as failed:
        await peer.outcome(call)
    assert failed.value.cause == "ConnectionRefusedError"
    assert await peer.http(job) == (502, [], [])


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("tcp_connect", []), ("http_request", ["POST", "/shutdown", [], []]), ("ws_connect", ["/rpc/v1", [], []])],
)
async def test_only_the_jobs_own_port_is_reached(
    peer: Peer, agent: Agent, job: str, method: str, arguments: list[Any]
) -> None:
    for port in (agent.rpc_port, agent.control_port, agent.report_port):
        call = await peer.start(BISTREAM, method, job, *arguments, port=port)
        with pytest.raises(CallFailed, match="not one of the job's") as failed:
            await peer.outcome(call)
        assert failed.value.cause == "ValueError"


async def test_redis(peer: Peer) -> None:
    redis = shutil.which("redis-server")
    if redis is None:
        pytest.skip("needs Debian's redis-server")
    job = (await peer.call("job_create"))["uid"]
    arguments = [redis, "--port", "{port}", "--bind", "127.0.0.1", "--save", ""]
    await peer.call("job_start", job, arguments, {}, port="auto", ready="connect")
    call = await connect(peer, job, b"SET a 1\r\nINCR a\r\n")
    received = b""
    while len(received) < len(b"+OK\r\n:2\r\n"):
        received += (await peer.next_of(call))[2]
    assert received == b"+OK\r\n:2\r\n"
    await peer.data(call, b"QUIT\r\n")
    assert await all_of(peer, call) == b"+OK\r\n"
    await peer.data(call, b"")
    assert await peer.outcome(call) == ([], None)


#: Makes a database and serves it, all of it in the sandbox.
POSTGRES = """
set -e
initdb -D db -U test -A trust -E UTF8 --no-locale --no-sync > initdb.log
exec postgres -D db -p "$PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \\
    -c dynamic_shared_memory_type=mmap -c fsync=off
"""


#: Debian has them outside of PATH.
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.mark.skipif(not SERVERS, reason="needs Debian's postgresql")
async def test_postgresql(agent: Agent) -> None:
    """Its own client through a local port: it asks for encryption first, then streams both ways."""
    folder = SERVERS[-1].parent
    # It refuses to run as root. Its files are in a folder that is root's, so it is root by another name.
    as_other = ["unshare", "--user", "--map-user=1000"] if os.geteuid() == 0 else []
    if as_other and (await output_of(*as_other, "true"))[0] != 0:
        pytest.skip("needs user namespaces")
    async with connect_agent(f"127.0.0.1:{agent.rpc_port}", token=TOKEN) as client:
        job = await client.create_job()
        environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
        await job.start([*as_other, "sh", "-c", POSTGRES], environment, port="auto", ready="connect")
        server = await job.forward()
        try:
            where = f"host=127.0.0.1 port={server.sockets[0].getsockname()[1]} user=test dbname=postgres"
            async with asyncio.timeout(PATIENCE_S):
                while (await output_of(str(folder / "pg_isready"), "-d", where))[0] != 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            numbers = "".join(f"{number}\n" for number in range(50_000))
            code, output = await output_of(
                str(folder / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", where,
                "-c", "create table t (n int)", "-c", "copy t from stdin",
                "-c", "select sum(n) from t", "-c", "copy (select n from t order by n) to stdout",
                sent=numbers.encode(),
            )  # fmt: skip
            assert (code, output) == (0, f"{sum(range(50_000))}\n{numbers}".encode())
        finally:
            server.close()
            await job.kill("INT")


async def output_of(*command: str, sent: bytes = b"") -> tuple[int, bytes]:
    """Exit code and standard output of a program."""
    # A pipe only for data that is sent: one that the program closes first is an error of the loop's.
    stdin = asyncio.subprocess.PIPE if sent else asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(PATIENCE_S):
            output, _ = await process.communicate(sent or None)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output
