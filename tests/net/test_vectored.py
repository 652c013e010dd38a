"""Several buffers with one system call: on sockets of the kernel's, whose reader takes what it likes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagent.net.vectored import VectoredWriter
from tests.kit.peer import PATIENCE_S


class End(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class Rig:
    """A writer, and the socket at the other end of its connection, which nobody reads by itself."""

    def __init__(self, transport: asyncio.Transport, end: End, far: socket.socket) -> None:
        self.transport = transport
        self.end = end
        self.far = far
        self.writer = VectoredWriter(transport)

    async def read(self, size: int) -> bytes:
        data = bytearray()
        async with asyncio.timeout(PATIENCE_S):
            while len(data) < size:
                piece = await asyncio.get_running_loop().sock_recv(self.far, 1 << 20)
                assert piece, "ended early"
                data += piece
        return bytes(data)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    near, far = socket.socketpair()
    far.setblocking(False)
    transport, end = await asyncio.get_running_loop().create_connection(End, sock=near)
    with far:
        yield Rig(transport, end, far)
        transport.abort()
        await end.lost


@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [0],
        [0, 5, 0, 0, 7],
        [100_000] * 3,
        [7, 3_000_000, 7],
        [1] * 3000,
        [3_000_000, 0, 1],
        [9] * 1024 + [1 << 20],
    ],
    ids=str,
)
async def test_all_of_it_in_order(rig: Rig, sizes: list[int]) -> None:
    pieces: list[Any] = [os.urandom(size) for size in sizes]
    rig.writer.write([kind(piece) for kind, piece in zip((bytes, bytearray, memoryview) * 1024, pieces, strict=False)])
    rig.transport.write(b"behind")
    rig.writer.write([b"and ", b"more"])
    whole = b"".join(pieces) + b"behindand more"
    assert await rig.read(len(whole)) == whole


async def test_one_call_for_all_that_the_kernel_takes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    plain = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, buffers: calls.append(len(buffers)) or plain(fd, buffers))
    rig.writer.write([b"a", bytes(1000), b"b"])
    assert calls == [3]
    assert rig.far.recv(2000) == b"a" + bytes(1000) + b"b"


async def test_not_past_what_the_transport_still_has(rig: Rig) -> None:
    first = os.urandom(4_000_000)
    rig.transport.write(first)
    assert rig.transport.get_write_buffer_size()
    rig.writer.write([b"second", b"third"])
    assert await rig.read(len(first) + 11) == first + b"secondthird"


async def test_a_transport_that_encrypts_does_so(rig: Rig) -> None:
    class Encrypting(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__({"sslcontext": object(), "socket": rig.far})
            self.written: list[Any] = []

        def is_closing(self) -> bool:
            return False

        def writelines(self, buffers: Any) -> None:
            self.written += buffers

    transport = Encrypting()
    VectoredWriter(transport).write([b"a", b"b"])
    assert transport.written == [b"a", b"b"]


async def test_nothing_once_it_is_closing(rig: Rig) -> None:
    rig.transport.close()
    rig.writer.write([b"a", b"b"])
    async with asyncio.timeout(PATIENCE_S):
        assert await rig.end.lost is None
    assert rig.far.recv(10) == b""


async def test_who_is_gone_is_told_by_the_transport(rig: Rig) -> None:
    rig.transport.pause_reading()
    rig.far.close()
    rig.writer.write([b"a", b"b"])
    async with asyncio.timeout(PATIENCE_S):
        assert isinstance(await rig.end.lost, OSError)
