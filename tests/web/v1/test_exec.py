"""Processes over a WebSocket of /v1: messages, back pressure, ends, and the token of a browser."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from pagent.config.model import ClientSettings, Settings
from tests.kit.agents import TOKEN, running_agent
from tests.kit.field_agent import field_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import ask, connected, running_router
from tests.kit.transfers import eventually
from tests.web.v1.data import Data, data_site
from tests.web.v1.portal import Portal

EXEC = Subprotocol("pagent.exec.v1")
MIB = 1024 * 1024


@pytest.fixture
async def data(settings: Settings) -> AsyncIterator[Data]:
    """A job that runs on."""
    async with data_site(settings) as made:
        await made.start("exec sleep 600")
        yield made


def target(data: Data, *args: str, **options: Any) -> str:
    return f"{data.job}/exec?{urlencode([*[('arg', arg) for arg in args], *options.items()])}"


@asynccontextmanager
async def execute(
    data: Data, *args: str, subprotocols: Sequence[Subprotocol] | None = (EXEC,), **options: Any
) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{data.portal.port}{target(data, *args, **options)}"
    async with asyncio.timeout(PATIENCE_S), connect(url, subprotocols=subprotocols, compression=None) as socket:
        yield socket


async def outcome(socket: ClientConnection) -> tuple[bytes, bytes, int]:
    """Both outputs and the exit code; the close must be 1000."""
    out, code = {1: b"", 2: b""}, None
    async for message in socket:
        assert code is None
        if isinstance(message, str):
            code = json.loads(message)["exit"]
        else:
            out[message[0]] += message[1:]
    assert socket.close_code == 1000
    assert code is not None
    return out[1], out[2], code


async def test_input_output_and_exit_code(data: Data) -> None:
    async with execute(data, "sh", "-c", "cat; echo err >&2; exit 3") as socket:
        assert socket.subprotocol == EXEC
        await socket.send(b"\0one ")
        await socket.send(b"\0two")
        await socket.send(b"\0")
        assert await outcome(socket) == (b"one two", b"err\n", 3)


async def test_a_terminal_and_its_size(data: Data) -> None:
    async with execute(data, "sh", "-c", "stty size; read line; stty size", tty=1, rows=33, cols=77) as socket:
        assert await socket.recv() == b"\x0133 77\r\n"
        await socket.send(json.dumps({"resize": [0, 0]}))  # of a window that opens
        await socket.send(json.dumps({"resize": [40, 100]}))
        await socket.send(b"\0\n")
        out, _, code = await outcome(socket)
        assert (out.split()[-2:], code) == ([b"40", b"100"], 0)


async def test_without_a_subprotocol(data: Data) -> None:
    async with execute(data, "true", subprotocols=None) as socket:
        assert socket.subprotocol is None
        assert await outcome(socket) == (b"", b"", 0)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", 1003),
        (b"\1x", 1003),
        ("x", 1007),
        ("{}", 1007),
        ('{"resize": [1]}', 1007),
        ('{"resize": ["1", 2]}', 1007),
        ('{"resize": [1, 2], "x": 1}', 1007),
        ('{"ack": 1}', 1007),
        ('{"ack": 0}', 1007),
        ('{"ack": true}', 1007),
        (b"\0" * (MIB + 1), 1009),
    ],
)
async def test_messages_that_are_none(data: Data, message: bytes | str, code: int) -> None:
    async with execute(data, "cat") as socket:
        await socket.send(message)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == code
        assert socket.close_reason


async def raw(data: Data, *args: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket without a library, past its handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", data.portal.port)
    fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = base64.b64encode(bytes(16)).decode()
    host = f"Host: 127.0.0.1:{data.portal.port}\r\n"
    head = f"GET {target(data, *args)} HTTP/1.1\r\n{host}{fields}Sec-WebSocket-Key: {key}\r\n\r\n"
    writer.write(head.encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


@pytest.mark.parametrize("frame", [b"\x82\x01\0", b"\xf2\x80\0\0\0\0", b"\x80\x80\0\0\0\0", b"\x88\x81\0\0\0\0x"])
async def test_frames_that_are_none(data: Data, frame: bytes) -> None:
    reader, writer = await raw(data, "cat")
    writer.write(frame)
    async with asyncio.timeout(PATIENCE_S):
        assert (await reader.readexactly(4))[2:] == (1002).to_bytes(2, "big")
    writer.close()


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"args": ["/no/such/program"]}, 400),
        ({"args": []}, 400),
        ({"args": ["true"], "rows": 0}, 400),
        ({"args": ["true"], "cols": 70_000}, 400),
        ({"args": ["true"], "tty": 2}, 400),
        ({"args": ["true"], "env": "x"}, 400),
        ({"args": ["true"], "term": "x y"}, 400),
        ({"args": ["true"], "window": 1}, 400),
        ({"args": ["true"], "window": 17 * MIB}, 400),
        ({"args": ["true"], "subprotocols": [Subprotocol("other")]}, 400),
    ],
)
async def test_handshakes_that_are_refused(data: Data, options: dict[str, Any], status: int) -> None:
    more = {name: value for name, value in options.items() if name != "args"}
    with pytest.raises(InvalidStatus) as refused:
        async with execute(data, *options["args"], **more):
            pass
    assert refused.value.response.status_code == status


async def test_what_is_no_websocket(data: Data) -> None:
    assert (await data.portal.ask("GET", target(data, "true"))).status == 400
    assert (await data.portal.ask("HEAD", target(data, "true"))).status == 405


async def test_a_job_that_does_not_run(settings: Settings) -> None:
    async with data_site(settings) as data:
        with pytest.raises(InvalidStatus) as refused:
            async with execute(data, "true"):
                pass
        assert refused.value.response.status_code == 409


@pytest.mark.parametrize("how", ["close", "abort", "half"])
async def test_the_process_ends_with_its_client(data: Data, how: str) -> None:
    async with execute(data, "sh", "-c", "echo $$; exec sleep 600") as socket:
        pid = int(str(bytes(await socket.recv())[1:], "ascii"))  # type: ignore[arg-type]
        os.kill(pid, 0)
        if how == "close":
            await socket.close()
        elif how == "abort":
            socket.transport.abort()
        else:
            socket.transport.write_eof()
        await eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())
        (link,) = data.router.directory.table
        async with asyncio.timeout(PATIENCE_S):
            await link.calls_ended()


WRITES = """
import sys
for number in range(64):
    sys.stdout.buffer.write(bytes(1048576))
    sys.stderr.write('.')
    open(sys.argv[1], 'a').write('.')
"""


async def test_a_client_that_does_not_read_pauses_the_process(data: Data, tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    async with execute(data, sys.executable, "-uc", WRITES, str(progress)) as socket:
        written, dots, size = 0, 0, -1
        while not progress.exists() or size != progress.stat().st_size:
            size = progress.stat().st_size if progress.exists() else -1
            await asyncio.sleep(0.3)
        assert size < 32
        async for message in socket:
            if isinstance(message, str):
                assert json.loads(message) == {"exit": 0}
            elif message[0] == 1:
                written += len(message) - 1
            else:
                dots += len(message) - 1
        assert (written, dots) == (64 * MIB, 64)


async def test_a_window_bounds_the_output_under_way(data: Data, tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    async with execute(data, sys.executable, "-uc", WRITES, str(progress), window=64 * 1024) as socket:
        received = acknowledged = 0
        while received < 64 * 1024:
            received += len(await socket.recv()) - 1
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(1):
                    received += len(await socket.recv()) - 1
        # One message may go beyond the window.
        assert received < 512 * 1024
        assert not progress.exists() or progress.stat().st_size < 16
        await socket.send(json.dumps({"ack": received}))
        acknowledged = received
        async for message in socket:
            if isinstance(message, str):
                assert json.loads(message) == {"exit": 0}
                break
            received += len(message) - 1
            if received - acknowledged >= 32 * 1024:
                await socket.send(json.dumps({"ack": received - acknowledged}))
                acknowledged = received
        assert received == 64 * MIB + 64


async def test_more_than_was_sent_cannot_be_acknowledged(data: Data) -> None:
    async with execute(data, "sh", "-c", "echo x; exec cat", window=1024) as socket:
        assert await socket.recv() == b"\1x\n"
        await socket.send(json.dumps({"ack": 3}))
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1007


async def test_the_kind_of_terminal(data: Data) -> None:
    async with execute(data, "sh", "-c", "echo $TERM", tty=1, term="xterm-256color") as socket:
        assert await outcome(socket) == (b"xterm-256color\r\n", b"", 0)


async def test_a_process_that_does_not_read_pauses_the_client(data: Data) -> None:
    script = "import sys, time\nprint(flush=True)\nsys.stdin.readline()\nprint(len(sys.stdin.read()))"
    async with execute(data, sys.executable, "-c", "import os, time; time.sleep(600)") as socket:
        sent = 0
        with suppress(TimeoutError):
            while sent < 256:
                async with asyncio.timeout(1):
                    await socket.send(b"\0" + bytes(MIB - 1))
                sent += 1
        assert 0 < sent < 32
        socket.transport.abort()
    async with execute(data, sys.executable, "-c", script) as socket:
        assert await socket.recv() == b"\1\n"
        await socket.send(b"\0\n")
        for _ in range(16):
            await socket.send(b"\0" + b"x" * (MIB - 1))
        await socket.send(b"\0")
        assert await outcome(socket) == (b"%d\n" % (16 * (MIB - 1)), b"", 0)


async def test_many_small_messages_and_pings(data: Data) -> None:
    async with execute(data, "cat") as socket:
        for number in range(5_000):
            await socket.send(b"\0%d " % number)
        await (await socket.ping())
        await socket.send(b"\0")
        out, _, code = await outcome(socket)
        assert (out, code) == (b"".join(b"%d " % number for number in range(5_000)), 0)


async def test_a_lost_agent_is_a_close_with_a_reason(data: Data) -> None:
    async with execute(data, "cat") as socket:
        (link,) = data.router.directory.table
        link.connection.link.abort("the test breaks it")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1011
        assert socket.close_reason


async def test_the_end_of_the_router_is_a_close_with_a_reason(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(running_router())
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN)
        async with running_agent(replace(settings, client=client)) as agent:
            link = await connected(router, agent.uid)
            uid = (await router.directory.create(link, "job", linger=30.0))["uid"]
            data = Data(router, agent, Portal(router.control_port), uid)
            await data.start("exec sleep 600")
            async with execute(data, "cat") as socket:
                await stack.aclose()
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert (socket.close_code, socket.close_reason) == (1001, "the router ends")


async def test_agents_of_the_field_have_no_exec() -> None:
    async with running_router() as router, field_agent("F", router.server_port, TOKEN):
        link = await connected(router, "F")
        uid = (await router.directory.create(link, "job"))["uid"]
        fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")]
        key = ("Sec-WebSocket-Key", base64.b64encode(bytes(16)).decode())
        answer = await ask(router.control_port, "GET", f"/v1/jobs/{uid}/exec?arg=true", b"", [*fields, key])
        assert answer.status == 501
