"""Connections of strangers: how long and how much until they say what they want, and how many there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from pagent.limits import HANDSHAKE_MAX, HANDSHAKES_WAITING
from pagent.net import reception
from pagent.net.lobby import Lobby
from pagent.net.reception import Reception
from tests.kit.peer import PATIENCE_S
from tests.kit.transfers import eventually


class Server(asyncio.Protocol):
    """Answers with the number of bytes of its first data, and keeps what came."""

    def __init__(self) -> None:
        self.data = b""
        self.heard: list[str] = []
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.transport.write(b"%d\n" % len(data))

    def eof_received(self) -> None:
        self.heard.append("eof")

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append("lost")
        self.lost.set_result(None)


class Rig:
    def __init__(self) -> None:
        self.served: list[Server] = []
        self.reception = Reception(self._serve, Lobby())
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    def _serve(self) -> Server:
        self.served.append(Server())
        return self.served[-1]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    server = await asyncio.get_running_loop().create_server(rig.reception, "127.0.0.1", 0)
    rig.port = server.sockets[0].getsockname()[1]
    yield rig
    server.close()
    rig.reception.close()
    for writer in rig.writers:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Wait for the end, however the kernel tells it."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


async def test_a_head_goes_on_whole_with_what_lies_behind_it(rig: Rig) -> None:
    reader, writer = await rig.connect()
    pieces = [b"GET / HTTP/1.1\r\n", b"A: b\r", b"\n\r", b"\nbody"]
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.readline() == b"%d\n" % len(b"".join(pieces))
    writer.write(b"more")
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.readline() == b"4\n"
    assert rig.served[0].data == b"".join(pieces) + b"more"
    writer.write_eof()
    async with asyncio.timeout(PATIENCE_S):
        await rig.served[0].lost


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n"])
async def test_who_says_too_little_is_dropped_after_its_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(reception, "HANDSHAKE_TIMEOUT_S", 0.05)
    reader, writer = await rig.connect()
    writer.write(said)
    assert await ended(reader)
    assert not rig.served
    assert rig.reception.waiting == 0


async def test_a_head_without_end_is_dropped(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(b"GET / HTTP/1.1\r\nA: " + b"x" * HANDSHAKE_MAX)
    assert await ended(reader)
    assert not rig.served


async def served(rig: Rig) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Server]:
    """A connection whose head has been answered."""
    reader, writer = await rig.connect()
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.readline() == b"18\n"
    return reader, writer, rig.served[-1]


async def test_a_server_hears_all_that_happens_to_its_connection(rig: Rig) -> None:
    reader, writer, server = await served(rig)
    sent = 0
    while "pause" not in server.heard:  # nobody reads
        server.transport.write(bytes(1_000_000))
        sent += 1_000_000
    async with asyncio.timeout(PATIENCE_S):
        await reader.readexactly(sent)
        await eventually(lambda: "resume" in server.heard)
        writer.write_eof()
        await server.lost
    assert server.heard == ["pause", "resume", "eof", "lost"]


async def test_only_so_many_are_here_and_a_place_is_free_again_when_one_goes(rig: Rig) -> None:
    """Who has been answered, and does not go, is still here."""
    answered = [await served(rig) for _ in range(HANDSHAKES_WAITING // 2)]
    for _ in range(HANDSHAKES_WAITING // 2):
        await rig.connect()
    reader, _ = await rig.connect()
    assert await ended(reader)
    assert rig.reception.waiting == HANDSHAKES_WAITING
    _, writer, server = answered[0]
    writer.transport.abort()
    async with asyncio.timeout(PATIENCE_S):
        await server.lost
    await served(rig)
    reader, _ = await rig.connect()
    assert await ended(reader)


async def test_who_is_taken_over_needs_no_place(rig: Rig) -> None:
    for _ in range(2 * HANDSHAKES_WAITING):
        _, _, server = await served(rig)
        visitor = cast(Any, server.transport.get_protocol())
        server.transport.set_protocol(asyncio.Protocol())
        visitor.taken_over()
        assert server.heard == ["lost"]  # it keeps nothing of it
    assert rig.reception.waiting == 0
