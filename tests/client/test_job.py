from __future__ import annotations

import asyncio
import inspect
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client import AgentClient, RemoteJob, connect_agent
from pagent.errors import CallCancelledError, HandshakeRefusedError, LinkClosedError, MethodError, NotUnicodeError
from pagent.limits import MESSAGE_MAX, STREAM_WINDOW, WEBSOCKET_MESSAGE_MAX
from tests.kit.agents import TOKEN
from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import AGENT, Remote, slow_with_a_router

BIG = os.urandom(1000) * (5 * STREAM_WINDOW // 1000)

#: By path: /echo returns the body as it arrives; /broken and /chunked end early; /trailers; /wait responds before it
#: reads; any other path returns the head of the request.
SERVER = """
import asyncio, sys
async def body(reader, fields):
    if fields.get(b"transfer-encoding") == b"chunked":
        while size := int(await reader.readline(), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        left = int(fields.get(b"content-length", 0))
        while left:
            data = await reader.read(min(left, 65536))
            left -= len(data)
            yield data
async def serve(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    fields = {n.lower(): v.strip() for n, _, v in (f.partition(b":") for f in head.split(b"\\r\\n")[1:-2])}
    path = head.split(b" ")[1].partition(b"?")[0]
    answer = lambda text: writer.write(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n" + text)
    if path == b"/echo":
        answer(b"Transfer-Encoding: chunked\\r\\n\\r\\n")
        async for data in body(reader, fields):
            writer.write(b"%x\\r\\n%b\\r\\n" % (len(data), data))
            await writer.drain()
        writer.write(b"0\\r\\n\\r\\n")
    elif path == b"/broken":
        answer(b"Content-Length: 100\\r\\n\\r\\nhalf of it")
    elif path == b"/chunked":
        answer(b"Transfer-Encoding: chunked\\r\\n\\r\\n4\\r\\nhalf\\r\\n")
    elif path == b"/trailers":
        answer(b"Transfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nwhole\\r\\n0\\r\\nX-Sum: 5\\r\\n\\r\\n")
    elif path == b"/wait":
        answer(b"Content-Length: 5\\r\\n\\r\\nearly")
        await writer.drain()
        await asyncio.Event().wait()
    else:
        answer(b"Set-Cookie: a\\r\\nSet-Cookie: b\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(head) + head)
    await writer.drain()
    writer.close()
async def main():
    ports = [int(sys.argv[1])] + [int(p) for p in sys.argv[2:]]
    servers = [await asyncio.start_server(serve, "127.0.0.1", port) for port in ports]
    await servers[0].serve_forever()
asyncio.run(main())
"""

#: Echoes its input, and sends "bye" at the end of the input.
ECHO_TCP = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    peer, _ = server.accept()
    while data := peer.recv(65536):
        peer.sendall(data)
    peer.sendall(b"bye")
    peer.close()
"""

#: The ``websockets`` library; "close" closes with 4001, a path of /no is refused with 403.
ECHO_WS = """
import asyncio, sys
from websockets.asyncio.server import serve
def check(connection, request):
    if request.path.startswith("/no"):
        return connection.respond(403, "not you")
def chosen(connection, offered):
    return offered[0] if offered else None
async def echo(socket):
    async for message in socket:
        if message == "close":
            await socket.close(4001, "as you say")
            return
        await socket.send(message)
async def main():
    options = {"select_subprotocol": chosen, "process_request": check}
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None, **options) as server:
        await server.serve_forever()
asyncio.run(main())
"""


async def start(job: RemoteJob, script: str) -> RemoteJob:
    await job.start([sys.executable, "-c", script, "{port}"], port="auto", ready="connect")
    return job


@pytest.fixture
async def server(job: RemoteJob) -> RemoteJob:
    return await start(job, SERVER)


class TestHttp:
    async def test_whole(self, server: RemoteJob) -> None:
        status, headers, body = await server.http("GET", "/ü", [("a", "b c")], [("X-A", "1"), ("X-A", "2")])
        assert status == 200
        assert [value for name, value in headers if name == "Set-Cookie"] == ["a", "b"]
        assert body.startswith((b"GET /%C3%BC?a=b+c HTTP/1.1\r\n", b"GET /%C3%BC?a=b%20c HTTP/1.1\r\n"))
        assert body.count(b"X-A: ") == 2

    async def test_raw(self, server: RemoteJob) -> None:
        async with server.open_http("GET", "/a%2Fb?x=%20&", raw=True) as response:
            assert (await response.read()).startswith(b"GET /a%2Fb?x=%20& HTTP/1.1\r\n")
        async with server.open_http("GET", "/trailers", raw=True) as response:
            assert await response.read() == b"whole"
            assert response.trailers == [["X-Sum", "5"]]

    async def test_big_bodies(self, server: RemoteJob) -> None:
        length = [("Content-Length", str(len(BIG)))]
        assert (await server.http("POST", "/echo", headers=length, body=BIG)).body == BIG
        assert (await server.http("POST", "/echo", body=BIG)).body == BIG

    async def test_streamed_bodies(self, server: RemoteJob) -> None:
        """Each piece is sent when the one before has been echoed."""
        came = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            await came.wait()
            yield b"second"

        async with server.open_http("POST", "/echo", body=body()) as response:
            assert response.status == 200
            assert await anext(response) == b"first"
            came.set()
            assert await anext(response) == b"second"
            with pytest.raises(StopAsyncIteration):
                await anext(response)
            assert await response.read() == b""

    async def test_a_body_that_raises(self, server: RemoteJob) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            raise InterruptedError("of the test")

        with pytest.raises(InterruptedError, match="of the test"):
            await server.http("POST", "/echo", body=body())
        assert (await server.http("GET", "/")).status == 200

    async def test_a_body_that_is_another_call_which_fails(self, server: RemoteJob) -> None:
        """Its error is not that of the request."""
        with pytest.raises(MethodError, match="missing"):
            async with asyncio.timeout(PATIENCE_S):
                await server.http("POST", "/echo", body=server.read_chunks("missing"))
        assert (await server.http("GET", "/")).status == 200

    async def test_a_response_before_the_body_is_read(self, server: RemoteJob) -> None:
        async with asyncio.timeout(PATIENCE_S):
            assert (await server.http("POST", "/wait", body=BIG * 10)).body == b"early"

    async def test_a_body_is_not_read_further_after_the_response(self, server: RemoteJob) -> None:
        taken = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 1
                yield BIG

        async with server.open_http("POST", "/wait", body=body()) as response:
            assert await response.read() == b"early"
            await asyncio.sleep(0)
            before = taken
            for _ in range(100):
                await asyncio.sleep(0)
            assert taken <= before + 1

    @pytest.mark.parametrize(("path", "came"), [("/broken", b"half of it"), ("/chunked", b"half")])
    async def test_a_response_that_was_cut_off_is_an_error(self, server: RemoteJob, path: str, came: bytes) -> None:
        with pytest.raises(MethodError) as failed:
            await server.http("GET", path)
        assert failed.value.cause_type == "BrokenResponseError"
        async with server.open_http("GET", path) as response:
            assert await anext(response) == came
            with pytest.raises(MethodError):
                await anext(response)

    async def test_no_response(self, client: AgentClient) -> None:
        dead = await start(await client.create_job(), SERVER)
        await dead.kill("KILL")
        await dead.wait()
        with pytest.raises(MethodError, match="does not contain a running server"):
            await dead.http("GET", "/")

    async def test_cancelled(self, server: RemoteJob) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.Event().wait()

        async with server.open_http("POST", "/echo", body=body()) as response:
            assert await anext(response) == b"first"
        assert (await server.http("GET", "/")).status == 200

    async def test_the_link_is_lost_in_the_middle(self, address: str) -> None:
        async with connect_agent(address, token=TOKEN) as client:
            job = await start(await client.create_job(), SERVER)

            async def body() -> AsyncIterator[bytes]:
                yield b"first"
                await asyncio.Event().wait()

            async with job.open_http("POST", "/echo", body=body()) as response:
                assert await anext(response) == b"first"
                client.link.link.close(1000)
                with pytest.raises(LinkClosedError):
                    await response.read()


class TestTcp:
    async def test_half_close(self, job: RemoteJob) -> None:
        await start(job, ECHO_TCP)
        async with job.open_tcp() as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
            await stream.send(b"")
            await stream.end()
            assert b"".join([data async for data in stream]) == b"bye"
            assert await stream.receive() == b""

    @slow_with_a_router
    async def test_more_data_than_a_message_can_have(self, job: RemoteJob) -> None:
        await start(job, ECHO_TCP)
        large = bytes(MESSAGE_MAX + 1)
        async with job.open_tcp() as stream:
            sending = asyncio.ensure_future(stream.send(large))
            left = len(large)
            while left:
                left -= len(await stream.receive())
            await sending

    async def test_forward(self, job: RemoteJob) -> None:
        await start(job, ECHO_TCP)
        async with await job.forward() as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(BIG[:100_000])
            writer.write_eof()
            async with asyncio.timeout(PATIENCE_S):
                assert await reader.read() == BIG[:100_000] + b"bye"
            writer.close()
            await writer.wait_closed()

    async def test_forward_with_many_connections_at_once(self, job: RemoteJob) -> None:
        await start(job, ECHO_TCP)
        async with await job.forward() as server:
            with ExitStack() as stack:
                for _ in range(200):  # none is accepted before the end of this iteration of the loop
                    address = server.sockets[0].getsockname()
                    stack.enter_context(socket.create_connection(address, timeout=PATIENCE_S))

    async def test_a_port_of_another(self, job: RemoteJob, agent: Agent) -> None:
        await start(job, ECHO_TCP)
        with pytest.raises(MethodError) as failed:
            async with job.open_tcp(agent.rpc_port):
                pytest.fail("it was opened")
        assert failed.value.cause_type == "ValueError"

    async def test_the_job_ends(self, job: RemoteJob) -> None:
        await start(job, ECHO_TCP)
        async with job.open_tcp() as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
            await job.kill("KILL")
            assert await stream.receive() == b""
            await job.wait()
            await stream.end()


class TestWebSocket:
    async def test_messages(self, job: RemoteJob) -> None:
        await start(job, ECHO_WS)
        async with job.websocket("/", subprotocols=["v1"]) as socket:
            assert socket.subprotocol == "v1"
            for message in ("text", b"binary", "", b"", "ü" * 100_000, BIG):
                await socket.send(message)
                assert await socket.receive() == message
            assert await socket.close() == (1000, "")

    async def test_closed_with_a_code_and_a_reason(self, job: RemoteJob) -> None:
        await start(job, ECHO_WS)
        async with job.websocket("/?raw", subprotocols=["v1"], raw=True) as socket:
            assert socket.subprotocol == "v1"
            for code, reason, why in ((1005, "", "may not be sent"), (1000, "x" * 124, "at most 123")):
                with pytest.raises(ValueError, match=why):
                    await socket.close(code, reason)
            assert await socket.close(4001, "enough") == (4001, "enough")

    async def test_closed_by_the_job(self, job: RemoteJob) -> None:
        await start(job, ECHO_WS)
        async with job.websocket("/") as socket:
            assert socket.subprotocol is None
            await socket.send("a")
            await socket.send("close")
            assert [message async for message in socket] == ["a"]
            with pytest.raises(CallCancelledError):
                await socket.receive()
            assert await socket.close() == (4001, "as you say")

    async def test_nothing_is_sent_to_a_job_that_has_closed(self, job: RemoteJob) -> None:
        await start(job, ECHO_WS)
        async with job.websocket("/") as socket:
            await socket.send("close")
            assert [message async for message in socket] == []
            with pytest.raises(CallCancelledError, match="closed"):
                await socket.send("after the close")

    @pytest.mark.parametrize("text", [False, True])
    async def test_an_oversized_message_is_refused_and_the_websocket_lives(self, job: RemoteJob, text: bool) -> None:
        message = "ü" * (WEBSOCKET_MESSAGE_MAX // 2 + 1) if text else bytes(WEBSOCKET_MESSAGE_MAX + 1)
        await start(job, ECHO_WS)
        async with job.websocket("/") as socket:
            with pytest.raises(ValueError, match=f"at most {WEBSOCKET_MESSAGE_MAX} bytes"):
                await socket.send(message)
            await socket.send("still here")
            assert await socket.receive() == "still here"

    async def test_closed_while_another_task_reads(self, job: RemoteJob) -> None:
        await start(job, ECHO_WS)
        async with job.websocket("/") as socket:
            reading = asyncio.ensure_future(anext(socket, "the end"))
            await asyncio.sleep(0)
            async with asyncio.timeout(PATIENCE_S):
                assert await socket.close() == (1000, "")
                assert await reading == "the end"

    async def test_refused(self, job: RemoteJob) -> None:
        await start(job, ECHO_WS)
        with pytest.raises(MethodError, match="403"):
            async with job.websocket("/no"):
                pytest.fail("it was opened")


class TestPorts:
    async def test_of_several(self, job: RemoteJob) -> None:
        script = """
import os, socket, threading, urllib.request
endpoint, job = os.environ["DA__PAGENT__JOB_ENDPOINT"], os.environ["DA__PAGENT__JOB_ID"]
servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
def serve(server, number):
    while True:
        peer, _ = server.accept()
        head = peer.recv(65536)
        if head.startswith(b"GET"):
            peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\n\\r\\n%d" % number)
        else:
            peer.sendall(b"%d" % number)
        peer.close()
for number, server in enumerate(servers):
    threading.Thread(target=serve, args=(server, number)).start()
    port = server.getsockname()[1]
    urllib.request.urlopen(f"{endpoint}?job_id={job}&port={port}").read()
"""
        info = await job.start([sys.executable, "-c", script], port_expected_count=2)
        for number, port in enumerate(info["ports"]):
            assert (await job.http("GET", "/", port=port)).body == b"%d" % number
            async with job.open_tcp(port) as stream:
                await stream.send(b"hello")
                assert await stream.receive() == b"%d" % number
            with pytest.raises(MethodError):
                async with job.websocket("/", port=port):
                    pytest.fail("that is no WebSocket server")
        with pytest.raises(MethodError) as failed:
            await job.http("GET", "/")
        assert failed.value.cause_type == "ValueError"


class TestLife:
    async def test_from_creation_to_removal(self, client: AgentClient, served: Remote) -> None:
        job = await client.create_job("named")
        assert job.name == "named"
        assert client.identity["auth"]["uid"] == served.uid
        assert await client.count_jobs() == 1
        assert [found.uid for found in await client.jobs()] == [job.uid]
        assert (await client.job(job.uid)).name == "named"
        await job.start([sys.executable, "-c", "import os; print(os.environ['A'])"], {"A": "1"}, port_expected_count=0)
        assert (await job.wait())["exit_code"] == 0
        assert (await job.info())["state"] == "FINISHED"
        logs = job.logs()
        assert [chunk async for chunk in logs] == [b"1\n"]
        assert (logs.offset, logs.state, logs.exit_code) == (2, "FINISHED", 0)
        assert [chunk async for chunk in job.logs("stdout", offset=1)] == [b"\n"]
        assert [chunk async for chunk in job.logs("stderr", follow=True)] == []
        assert (await job.remove())["uid"] == job.uid
        with pytest.raises(MethodError) as failed:
            await job.info()
        assert failed.value.cause_type == "JobNotFoundError"

    async def test_start_fails(self, job: RemoteJob) -> None:
        with pytest.raises(MethodError) as failed:
            await job.start(["/no/such/program"])
        assert failed.value.cause_type == "FileNotFoundError"

    async def test_limits(self, client: AgentClient) -> None:
        job = await client.create_job()
        with pytest.raises(MethodError) as failed:
            await job.start([sys.executable, "-c", "input()"], port="auto", ready="connect", ready_timeout=0.01)
        assert failed.value.cause_type in ("ProcessStartTimeoutError", "ProcessExitedError")
        job = await client.create_job()
        await job.start(["sleep", "1000"], port_expected_count=0, timeout=0.05)
        assert (await job.wait())["state"] == "FINISHED"
        job = await client.create_job()
        await job.start(["sleep", "1000"], port_expected_count=0)
        await job.kill("KILL", grace=1.0)
        assert (await job.wait())["signal"] == "SIGKILL"

    async def test_follow(self, job: RemoteJob) -> None:
        await job.start(["sh", "-c", "mkfifo fifo; echo one; read line < fifo; echo $line"], port_expected_count=0)
        chunks = aiter(job.logs(follow=True))
        assert await anext(chunks) == b"one\n"
        async with job.exec(["sh", "-c", "echo two > fifo"]):
            assert await anext(chunks) == b"two\n"
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)

    async def test_exec(self, job: RemoteJob) -> None:
        async with job.exec(["true"]) as process:
            with pytest.raises(MethodError) as failed:
                await anext(process)
            assert failed.value.cause_type == "JobInvalidStateError"
        await job.start(["sleep", "1000"], port_expected_count=0)
        async with job.exec(["sh", "-c", "cat; echo $A; exit 3"], {"A": "1"}) as process:
            await process.write(b"")
            await process.write(b"input")
            await process.end_input()
            assert b"".join([data async for data in process]) == b"input1\n"
            assert await process.wait() == 3
        async with job.exec(["stty", "size"], tty=True, rows=11, cols=22) as process:
            assert b"".join([data async for data in process]) == b"11 22\r\n"
        async with job.exec(["sh", "-c", "read x; stty size"], tty=True) as process:
            await process.resize(33, 44)
            await process.write(b"\n")
            assert b"33 44\r\n" in b"".join([data async for data in process])

    async def test_texts_that_are_not_utf_8(self, job: RemoteJob, sandbox: Path) -> None:
        text = os.fsdecode(b"K\xf6ln")
        (sandbox / text).mkdir()
        await job.start(
            ["sh", "-c", "pwd; echo $0 $A; exec sleep 1000", text], {"A": text}, text, port_expected_count=0
        )
        async with job.exec(["printf", "%s %s", text, "ü"], {"A": text}) as process:
            assert b"".join([data async for data in process]) == "Köln ".encode("latin-1") + "ü".encode()
        output = b""
        async with aclosing(aiter(job.logs(follow=True))) as chunks:
            while output.count(b"\n") < 2:
                output += await anext(chunks)
        assert output.splitlines() == [os.fsencode(sandbox / text), b"K\xf6ln K\xf6ln"]
        with pytest.raises(NotUnicodeError):
            await job.note(text, b"")

    async def test_adopt(self, address: str, client: AgentClient) -> None:
        async with connect_agent(address, token=TOKEN, name="first") as first:
            uid = (await first.create_job("lingers", linger=60.0)).uid
        job = await client.adopt_job(uid)
        assert job.name == "lingers"
        assert await client.count_jobs() == 1


async def test_a_creation_that_is_repeated(client: AgentClient) -> None:
    uid = "0123456789abcdef" * 2
    job = await client.create_job("first", uid=uid, labels={"a": "b"})
    again = await client.create_job("second", uid=uid)
    assert (again.uid, again.name) == (uid, "first")
    labels = (await job.info())["labels"]
    assert {name: value for name, value in labels.items() if not name.startswith("pagent/")} == {"a": "b"}


async def test_a_watch(client: AgentClient) -> None:
    async with aclosing(client.watch()) as watch:
        assert (await anext(watch))["host"]["jobs"] == 0
        assert await anext(watch) == {"ready": True}
        job = await client.create_job()
        assert (await anext(watch))["job"]["uid"] == job.uid
    with pytest.raises(MethodError, match="interval"):
        await anext(client.watch(interval=-1))


@pytest.mark.parametrize("served", [AGENT], indirect=True)  # notes are for routers, which do not relay them
async def test_notes(client: AgentClient) -> None:
    job = await client.create_job()
    async with aclosing(client.watch()) as watch:
        assert (await anext(watch)).keys() == {"host"}
        assert (await anext(watch)).keys() == {"jobs"}
        assert await anext(watch) == {"ready": True}
        assert await job.note("a", b"1")
        assert await anext(watch) == {"note": [job.uid, "a", b"1"]}
        assert not await job.note("a", b"2", ttl=60, if_absent=True)


async def test_ended_jobs(client: AgentClient) -> None:
    job = await client.create_job()
    await job.start(["sh", "-c", "cat >&2"], port_expected_count=0, stdin=b"input")
    await job.wait()
    await job.remove()
    (ended,) = await client.ended_jobs()
    assert (ended["uid"], ended["stderr"]) == (job.uid, b"input")


async def test_a_cordon(client: AgentClient) -> None:
    assert (await client.cordon(True))["cordoned"]
    with pytest.raises(MethodError, match="cordoned"):
        await client.create_job()
    await client.cordon(False)
    assert not (await client.host_info())["cordoned"]


@pytest.mark.parametrize("served", [AGENT], indirect=True)  # an open router takes any token
async def test_a_wrong_token(address: str) -> None:
    with pytest.raises(HandshakeRefusedError):
        async with connect_agent(address, token="another"):
            pytest.fail("it was let in")


async def test_the_client_has_every_argument_of_every_method(agent: Agent) -> None:
    """Compare the client with the agent's table of methods."""
    spellings: dict[str, Any] = {
        "job_create": AgentClient.create_job, "job_start": RemoteJob.start, "job_run": RemoteJob.run,
        "job_wait": RemoteJob.wait,
        "job_info": RemoteJob.info, "job_remove": RemoteJob.remove, "job_kill": RemoteJob.kill,
        "job_listening": RemoteJob.listening,
        "job_adopt": AgentClient.adopt_job, "job_list": AgentClient.jobs,
        "job_count_current_connection": AgentClient.count_jobs, "job_logs": RemoteJob.logs, "job_exec": RemoteJob.exec,
        "http_request": RemoteJob.open_http, "ws_connect": RemoteJob.websocket, "tcp_connect": RemoteJob.open_tcp,
        "file_upload": RemoteJob.write, "file_download": RemoteJob.read_chunks,
        "archive_upload": RemoteJob.upload_archive,
        "archive_download": RemoteJob.download_archive, "file_stat": RemoteJob.stat, "file_list": RemoteJob.list,
        "file_remove": RemoteJob.remove_file,
        "host_info": AgentClient.host_info, "host_cordon": AgentClient.cordon, "agent_watch": AgentClient.watch,
        "job_figures": AgentClient.figures, "job_note": RemoteJob.note, "host_end": AgentClient.end,
    }  # fmt: skip
    # host_credential is for routers alone.
    table = {name: method for name, method in agent.methods.items() if name != "host_credential"}
    assert spellings.keys() == table.keys()
    # Arguments with another name in the client, and arguments that the client chooses.
    known = {"job_uid": "self", "filename": "path"}
    implied = {
        ("archive_download", "chunk_size"),
        ("archive_download", "holes"),
        ("archive_download", "report"),
        ("archive_upload", "report"),
        ("file_download", "holes"),
        ("job_adopt", "job_uid"),
        # What the API of a router needs beside them.
        ("job_exec", "started"),
        ("job_logs", "bounds"),
        ("file_download", "describe"),
        ("file_remove", "match"),
        ("file_upload", "absent"),
        ("file_upload", "match"),
        ("file_upload", "report"),
        ("job_list", "after"),
        # Passed on as they are.
        *(("job_run", name) for name in ("port", "prefer_port", "more_ports")),
        ("job_list", "limit"),
        ("job_list", "ended"),
    }
    for name, method in table.items():
        wanted = [argument for argument in inspect.signature(method.function).parameters if argument != "call"]
        offered = inspect.signature(spellings[name]).parameters
        for argument in wanted:
            assert (name, argument) in implied or known.get(argument, argument) in offered, f"{name}: {argument}"
