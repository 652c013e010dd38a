"""``tcp_connect`` end to end, and real programs behind it and behind ``http_request``."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client import connect_agent
from tests.kit.agents import TOKEN
from tests.kit.peer import BISTREAM, OSTREAM, PATIENCE_S, CallFailed, Peer
from tests.kit.programs import start_program

#: Reads to the end, answers with the size and the SHA-256 of what came, and closes.
DIGEST = """
import hashlib, socket, sys, threading
def serve(connection):
    digest, size = hashlib.sha256(), 0
    while piece := connection.recv(1 << 20):
        digest.update(piece)
        size += len(piece)
    connection.sendall(f"{size} {digest.hexdigest()}".encode())
    connection.close()
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""

#: Sends ten megabytes at once and ends its direction, then reads to the end and keeps what came in the file `got`.
SENDER = """
import os, socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
while True:
    connection, _ = listening.accept()
    try:
        connection.sendall(bytes(10_000_000))
        connection.shutdown(socket.SHUT_WR)
        data = b""
        while piece := connection.recv(65536):
            data += piece
        with open("getting", "wb") as file:
            file.write(data)
        os.rename("getting", "got")
    except OSError:
        pass
    connection.close()
"""


async def tunnel(peer: Peer, job: str, **options: Any) -> int:
    call = await peer.start(BISTREAM, "tcp_connect", job, **options)
    assert (await peer.next_of(call))[2] is True
    return call


async def test_half_close_towards_the_job(peer: Peer) -> None:
    job = await start_program(peer, DIGEST)
    data = os.urandom(3_000_000)
    call = await tunnel(peer, job)
    for start in range(0, len(data), 100_000):
        await peer.data(call, data[start : start + 100_000])
    await peer.data(call, b"")
    values, result = await peer.outcome(call)
    assert result is None
    assert values[-1] == b"", "the job's own half-close"
    assert b"".join(values) == f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode()


async def test_half_close_by_the_job(peer: Peer) -> None:
    job = await start_program(peer, SENDER)
    call = await tunnel(peer, job)
    received = 0
    while value := (await peer.next_of(call))[2]:
        received += len(value)
    assert received == 10_000_000
    await peer.data(call, b"behind your end")
    await peer.data(call, b"")
    assert await peer.outcome(call) == ([], None)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                values, _ = await peer.outcome(await peer.start(30, "file_download", job, "got"))
                break
            except CallFailed:  # not yet
                pass
    assert values[1:] == [b"behind your end"]


async def test_a_stream_close_is_a_half_close_too_and_data_behind_it_is_dropped(peer: Peer) -> None:
    job = await start_program(peer, DIGEST)
    call = await tunnel(peer, job)
    await peer.data(call, b"abc")
    await peer.end(call)
    await peer.data(call, b"more")
    values, _ = await peer.outcome(call)
    assert b"".join(values) == f"3 {hashlib.sha256(b'abc').hexdigest()}".encode()


async def test_data_behind_the_end_and_what_is_no_data_end_the_call(peer: Peer) -> None:
    job = await start_program(peer, SENDER)
    for values in ([b"", b"more"], ["text"], [7]):
        call = await tunnel(peer, job)
        for value in values:
            await peer.data(call, value)
        with pytest.raises(CallFailed) as failed:
            await peer.outcome(call)
        assert failed.value.status == 30


async def test_nobody_listens_any_more(peer: Peer) -> None:
    """The port's owner has closed it and goes on."""
    job = await start_program(
        peer,
        """
import signal, socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listening:
    listening.accept()
signal.pause()
""",
    )
    call = await peer.start(BISTREAM, "tcp_connect", job)
    assert (await peer.next_of(call))[2] is False
    with pytest.raises(CallFailed, match="ConnectionRefusedError"):
        await peer.outcome(call)


async def test_a_cancelled_tunnel_resets_the_jobs_connection(peer: Peer) -> None:
    job = await start_program(
        peer,
        """
import os, socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
listening.accept()[0].close()
connection, _ = listening.accept()
connection.sendall(b"hello")
try:
    connection.recv(1)
    end = "closed"
except ConnectionResetError:
    end = "reset"
print(end, flush=True)
""",
    )
    call = await tunnel(peer, job)
    assert (await peer.next_of(call))[2] == b"hello"
    await peer.cancel(call)
    assert (await peer.call("job_wait", job))["exit_code"] == 0
    values, _ = await peer.outcome(await peer.start(30, "job_logs", job))
    assert values in ([b"reset\n"], [b"closed\n"])


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server here (Debian: redis-server)")
async def test_redis(agent: Agent) -> None:
    value = os.urandom(5_000_000)
    async with connect_agent(f"127.0.0.1:{agent.rpc_port}", token=TOKEN) as client:
        job = await client.create_job("redis")
        await job.start(
            ["redis-server", "--bind", "127.0.0.1", "--port", "{port}", "--save", ""], port="auto", ready="connect"
        )
        server = await job.forward()
        try:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (len(value), value))
            assert await reader.readline() == b"+OK\r\n"
            for _ in range(100):
                writer.write(b"PING\r\n")
            assert await reader.readexactly(700) == b"+PONG\r\n" * 100
            writer.write(b"GET k\r\nQUIT\r\n")
            assert await reader.readline() == b"$%d\r\n" % len(value)
            assert await reader.readexactly(len(value)) == value
            assert await reader.read() == b"\r\n+OK\r\n", "and the end, when redis closes"
            writer.close()
            await writer.wait_closed()
        finally:
            server.close()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here (Debian: nginx-light)")
async def test_nginx(peer: Peer) -> None:
    job = (await peer.call("job_create"))["uid"]
    config = (
        "user root; daemon off; pid nginx.pid; error_log stderr; events {} http { access_log off;"
        " client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;"
        " gzip on; gzip_types *; gzip_proxied any; server { listen 127.0.0.1:PORT; root .; autoindex on; } }"
    )
    page = b"a page of nginx\n" * 5000
    for name, content in (("page.html", page), ("nginx.conf", config.encode())):
        upload = await peer.start(OSTREAM, "file_upload", job, name)
        await peer.data(upload, content)
        await peer.end(upload)
        await peer.outcome(upload)
    start = "sed -i s/PORT/$PORT/ nginx.conf; exec nginx -p . -c nginx.conf"
    await peer.call("job_start", job, ["sh", "-c", start], {}, port="auto", ready="connect")
    for _ in range(3):
        status, headers, body = await peer.http(job, path="/page.html", headers=[["Accept-Encoding", "gzip"]])
        assert (status, b"".join(body)) == (200, page)
        assert ["Server", "nginx"] in [[name, value.partition("/")[0]] for name, value in headers]
    status, headers, body = await peer.http(job, path="/page.html", headers=[["Range", "bytes=2-5"]])
    assert (status, b"".join(body)) == (206, b"page")
    assert (await peer.http(job, path="/nothing"))[0] == 404
    assert (await peer.http(job, "HEAD", "/page.html"))[::2] == (200, [])
    etag = dict(headers)["ETag"]
    assert (await peer.http(job, path="/page.html", headers=[["If-None-Match", etag]]))[::2] == (304, [])
