"""The echo end point of tests.kit.ws_echo against the ``websockets`` library and raw frames, in both roles.

In spirit the groups of Autobahn's suite: 1 framing, 2 pings, 3 reserved bits, 4 opcodes, 5 fragmentation, 6 UTF-8,
7 close handling, 9 and 10 sizes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.kit import ws_echo
from tests.kit.peer import PATIENCE_S
from tests.wire.test_frames import frame

HEAD = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = await asyncio.start_server(ws_echo.serve_one, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def raw(port: int, *pieces: bytes) -> bytes:
    """All that the server sends on a connection to which these bytes are sent, until it closes."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(HEAD)
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            answer = await reader.read()
            writer.write_eof()
            return answer
        finally:
            writer.close()


def m(head: int, payload: bytes = b"") -> bytes:
    return frame(head, payload, masked=True)


def close(code: int) -> bytes:
    return m(0x88, struct.pack("!H", code))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65_535, 65_536, 1 << 20, 16 << 20])
async def test_sizes_of_text_and_binary(port: int, size: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as socket:
        for message in ("*" * size, b"\xfe" * size):
            await socket.send(message)
            assert await socket.recv() == message


async def test_fragments_of_any_size_with_pings_between(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as socket:
        for size in (1, 64, 4096):
            await socket.send("grün€"[at % 5] * size for at in range(20))
            assert await socket.recv() == "".join("grün€"[at % 5] * size for at in range(20))
            async with asyncio.timeout(PATIENCE_S):
                await (await socket.ping(b"x" * 125))


async def test_ten_pings_are_answered_in_order_and_pongs_are_not(port: int) -> None:
    pings = b"".join(m(0x89, b"%d" % at) + m(0x8A, b"unasked") for at in range(10))
    assert await raw(port, pings + close(1000)) == b"".join(
        frame(0x8A, b"%d" % at) for at in range(10)
    ) + frame(0x88, struct.pack("!H", 1000))  # fmt: skip


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        (1002, m(0xC1, b"x")),
        (1002, m(0x83)),
        (1002, m(0x8B)),
        (1002, m(0x89, b"x" * 126)),
        (1002, m(0x80, b"x")),
        (1002, m(0x01, b"a") + m(0x81, b"b")),
        (1002, frame(0x81, b"not masked")),
        (1002, close(1005)),
        (1002, m(0x88, b"\x03")),
        (1007, m(0x88, b"\x03\xe8\xff")),
        (1007, m(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited")),
        (1007, m(0x01, b"\xce") + m(0x80, b"\xce")),
        (1007, m(0x81, b"a\xff" + b"b" * 100)[:12]),  # the rest never comes
        (1009, m(0x82, b"")[:1] + b"\xff" + struct.pack("!Q", 1 << 40) + b"keys"),
    ],
)
async def test_what_breaks_the_rules_is_closed_with_its_code(port: int, code: int, bad: bytes) -> None:
    good = m(0x81, b"before")
    for pieces in ([good + bad], [good, *(bad[at : at + 1] for at in range(len(bad)))]):
        answer = await raw(port, *pieces)
        assert answer.startswith(frame(0x81, b"before"))
        rest = answer[len(frame(0x81, b"before")) :]
        assert rest[0] == 0x88
        assert struct.unpack("!H", rest[2:4])[0] == code


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999])
async def test_a_close_is_answered_with_its_code_and_nothing_follows(port: int, code: int) -> None:
    assert await raw(port, close(code) + m(0x89, b"after")) == frame(0x88, struct.pack("!H", code))


async def test_the_client_role_echoes_a_suites_cases() -> None:
    got: list[object] = []

    async def case(socket: ServerConnection) -> None:
        assert socket.request is not None
        if socket.request.path == "/getCaseCount":
            await socket.send("3")
            await socket.close()
            got.extend([message async for message in socket])  # this is no case
        elif socket.request.path.startswith("/runCase"):
            for message in ("text ü", b"\x00" * 70_000, ""):
                await socket.send(message)
                got.append(await socket.recv() == message)
        else:
            got.append(socket.request.path)

    async with serve(case, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        await in_process("client", "127.0.0.1", str(port), "ours")
    assert got == [True] * 9 + ["/updateReports?agent=ours"]


async def test_a_connection_that_the_other_side_has_dropped_ends_a_case() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        try:
            listening.accept()[0].close()
            assert await reader.read() == b""
            # The answer to this close meets a reset, and then there is nothing left to shut down.
            await ws_echo.Echo(writer, client=True).run(reader, frame(0x88, struct.pack("!H", 1000)))
        finally:
            writer.close()


async def test_the_cases_of_a_suite_go_through_an_agent() -> None:
    got: list[object] = []

    async def case(socket: ServerConnection) -> None:
        assert socket.request is not None
        if socket.request.path.startswith("/getCaseCount"):
            await socket.send("2")
            await socket.close()
            got.extend([message async for message in socket])
        elif socket.request.path.startswith("/runCase?case=1"):
            for message in ("text ü", bytes(5 << 20), ""):
                await socket.send(message)
                got.append(await socket.recv() == message)
            await socket.close(4000)
        elif socket.request.path.startswith("/runCase?case=2"):
            socket.transport.write(frame(0xF2, b"reserved bits"))  # type: ignore[attr-defined]
            await socket.wait_closed()
            got.append(socket.close_code)
        else:
            got.append(socket.request.path)

    async with serve(case, "127.0.0.1", 0, compression=None, max_size=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        await in_process("spliced", str(port), "ours")
    assert got == [True] * 3 + [1002, "/updateReports?agent=ours"]


async def in_process(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.kit.ws_echo", *arguments)
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_the_server_role_as_a_process() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.kit.ws_echo", "server", "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            port = int(await process.stdout.readline())
            async with connect(f"ws://127.0.0.1:{port}", compression=None) as socket:
                await socket.send("there and back")
                assert await socket.recv() == "there and back"
                await socket.close(4001, "enough")
            assert socket.close_code == 4001
    finally:
        process.kill()
        await process.wait()
