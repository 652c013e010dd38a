"""A connection to a port on real sockets: its end, and the order of its data."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Any

import pytest

from pagent.limits import FLUSH_STALLED_S
from pagent.net.port.connect import connect_port
from pagent.net.port.connection import PortConnection
from pagent.net.port.options import PORT_RECEIVE
from tests.kit.ends import HeldTimers, MemoryPort, QuietUser
from tests.kit.peer import PATIENCE_S


class User(QuietUser):
    """A user that records its data and events; :attr:`lost` is done when the connection is gone."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def port_data(self, data: bytes) -> None:
        self.data += data

    def port_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


async def test_an_abort_after_a_close_that_was_flushed(listener: socket.socket) -> None:
    connection = await connect_port(port_of(listener), User())
    job, _ = listener.accept()
    with job:
        job.setblocking(False)
        connection.write(b"x" * 8_000_000)
        connection.close()
        size = 0
        async with asyncio.timeout(PATIENCE_S):
            while data := await asyncio.get_running_loop().sock_recv(job, 1 << 20):
                size += len(data)
    assert size == 8_000_000
    await asyncio.sleep(0)
    connection.abort()
    connection.close()
    assert connection.is_stale()


async def test_an_end_for_a_job_that_has_just_reset_the_connection(listener: socket.socket) -> None:
    user = User()
    connection = await connect_port(port_of(listener), user)
    job, _ = listener.accept()
    job.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    job.close()
    connection.write_eof()
    async with asyncio.timeout(PATIENCE_S):
        assert isinstance(await user.lost, OSError)
    assert connection.closed
    connection.write(b"dropped")
    connection.write_eof()
    connection.abort()


async def test_data_from_before_a_reset_is_delivered(listener: socket.socket) -> None:
    user = User()
    connection = await connect_port(port_of(listener), user)
    connection.write(b"a request")
    job, _ = listener.accept()
    with job:
        job.send(b"an answer")  # with the request unread: the close resets the connection
    connection.write(b"more")
    async with asyncio.timeout(PATIENCE_S):
        assert isinstance(await user.lost, OSError)
    assert user.data == b"an answer"


async def test_the_end_is_reported_after_all_deferred_work(listener: socket.socket) -> None:
    """However many loop iterations the work takes."""

    class Slow(User):
        worked = 0

        def port_data(self, data: bytes) -> None:
            super().port_data(data)
            connection.defer(self.work, 0)

        def work(self) -> None:
            assert not self.lost.done()
            self.worked += 1
            if self.worked < 5:
                connection.defer(self.work, 0)

    user = Slow()
    connection = await connect_port(port_of(listener), user)
    job, _ = listener.accept()
    with job:
        job.sendall(b"the last")
        connection.write(b"x" * 8_000_000)  # the job does not read it, so its close is a reset
    async with asyncio.timeout(PATIENCE_S):
        assert await user.lost is not None
    assert (user.data, user.worked) == (b"the last", 5)


async def test_small_and_large_writes_go_in_their_order(listener: socket.socket) -> None:
    connection = await connect_port(port_of(listener), User())
    job, _ = listener.accept()
    pieces = [bytes([number]) * size for number, size in enumerate((5, 100_000, 5, 7000, 9000, 300_000, 1, 2))]
    with job:
        job.setblocking(False)
        for piece in pieces[:4]:
            connection.write(piece)
        connection.writelines([b"", *pieces[4:6]])
        connection.writelines(list(pieces[6:]))
        connection.write_eof()
        received = bytearray()
        async with asyncio.timeout(PATIENCE_S):
            while data := await asyncio.get_running_loop().sock_recv(job, 1 << 20):
                received += data
        assert received == b"".join(pieces)
        connection.close()


async def test_data_written_before_a_close_arrives_and_before_an_abort_need_not(listener: socket.socket) -> None:
    for end in ("close", "abort"):
        connection = await connect_port(port_of(listener), User())
        job, _ = listener.accept()
        with job:
            job.setblocking(False)
            connection.write(bytes(20_000))
            getattr(connection, end)()
            connection.write(b"not sent")
            received = bytearray()
            async with asyncio.timeout(PATIENCE_S):
                while data := await asyncio.get_running_loop().sock_recv(job, 1 << 20):
                    received += data
            assert received == (bytes(20_000) if end == "close" else b"")


async def test_unsent_data_of_a_close_waits_for_a_job_that_takes_some_of_it(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers = HeldTimers(monkeypatch, PortConnection, FLUSH_STALLED_S)
    connection = await connect_port(port_of(listener), User())
    job, _ = listener.accept()
    with job:
        job.setblocking(False)
        connection.write(bytes(20_000_000))
        connection.close()
        before = connection.unsent_bytes
        assert before > 0
        loop, size = asyncio.get_running_loop(), 0
        async with asyncio.timeout(PATIENCE_S):
            while connection.unsent_bytes == before:
                size += len(await loop.sock_recv(job, 1 << 20))
        assert timers.fire() == 1
        async with asyncio.timeout(PATIENCE_S):
            while data := await loop.sock_recv(job, 1 << 20):
                size += len(data)
        assert size == 20_000_000


async def test_unsent_data_of_a_close_is_dropped_if_the_job_takes_nothing(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers = HeldTimers(monkeypatch, PortConnection, FLUSH_STALLED_S)
    connection = await connect_port(port_of(listener), User())
    job, _ = listener.accept()
    with job:
        connection.write(bytes(20_000_000))
        connection.close()
        assert connection.unsent_bytes
        assert timers.fire() == 1
        size = 0
        while data := await asyncio.to_thread(job.recv, 1 << 20):
            size += len(data)
        assert 0 < size < 20_000_000  # the data that the kernel had


class SocketPort(MemoryPort):
    """A transport in memory with a socket, whose options can be read."""

    def __init__(self) -> None:
        self.end = socket.socket()
        super().__init__(PortConnection(User()))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.end if name == "socket" else default

    @property
    def kernel_keeps(self) -> int:
        size = self.end.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return size // 2 if sys.platform == "linux" else size  # the kernel doubles the size for its bookkeeping


async def test_the_kernel_keeps_no_megabytes_of_a_job() -> None:
    port = SocketPort()
    assert 0 < port.kernel_keeps <= PORT_RECEIVE
    port.connection.abort()
    port.end.close()
