"""A connection to a port on a socket of the kernel's: how its end is met."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Any

from pagent.net.port.connect import connect_port
from pagent.net.port.connection import PORT_RECEIVE, PortConnection
from tests.kit.ends import MemoryPort, QuietUser
from tests.kit.peer import PATIENCE_S


class User(QuietUser):
    """What it is told; :attr:`lost` is done when the connection is gone."""

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
    connection.write(b"nobody is there")
    connection.write_eof()
    connection.abort()


async def test_what_a_job_said_before_it_reset_the_connection(listener: socket.socket) -> None:
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


async def test_an_end_is_told_once_all_that_came_before_is_worked_up(listener: socket.socket) -> None:
    """However long that takes: it may be much, and others have their turns meanwhile."""

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
        connection.write(b"x" * 8_000_000)  # which it does not read: its close is a reset
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


async def test_what_was_written_before_a_close_arrives_and_before_an_abort_need_not(listener: socket.socket) -> None:
    for end in ("close", "abort"):
        connection = await connect_port(port_of(listener), User())
        job, _ = listener.accept()
        with job:
            job.setblocking(False)
            connection.write(bytes(20_000))
            getattr(connection, end)()
            connection.write(b"nobody sends this")
            received = bytearray()
            async with asyncio.timeout(PATIENCE_S):
                while data := await asyncio.get_running_loop().sock_recv(job, 1 << 20):
                    received += data
            assert received == (bytes(20_000) if end == "close" else b"")


async def test_what_is_left_at_a_close_waits_for_a_job_that_takes_some_of_it(listener: socket.socket) -> None:
    connection = await connect_port(port_of(listener), User())
    job, _ = listener.accept()
    with job:
        job.setblocking(False)
        connection.write(bytes(20_000_000))
        connection.close()
        transport = connection._transport
        assert transport is not None
        before = transport.get_write_buffer_size()
        assert before > 0
        loop, size = asyncio.get_running_loop(), 0
        async with asyncio.timeout(PATIENCE_S):
            while transport.get_write_buffer_size() == before:
                size += len(await loop.sock_recv(job, 1 << 20))
        connection._look_at_flush(before)
        async with asyncio.timeout(PATIENCE_S):
            while data := await loop.sock_recv(job, 1 << 20):
                size += len(data)
        assert size == 20_000_000


async def test_what_is_left_at_a_close_is_dropped_if_the_job_takes_nothing(listener: socket.socket) -> None:
    connection = await connect_port(port_of(listener), User())
    job, _ = listener.accept()
    with job:
        connection.write(bytes(20_000_000))
        connection.close()
        assert connection._transport is not None
        connection._look_at_flush(connection._transport.get_write_buffer_size())
        size = 0
        while data := await asyncio.to_thread(job.recv, 1 << 20):
            size += len(data)
        assert 0 < size < 20_000_000  # what the kernel had


class Socketed(MemoryPort):
    """With a socket behind it."""

    def __init__(self) -> None:
        self.end = socket.socket()
        super().__init__(PortConnection(User()))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.end if name == "socket" else default

    @property
    def kernel_takes(self) -> int:
        size = self.end.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return size // 2 if sys.platform == "linux" else size  # twice what it was told, for its own bookkeeping


async def test_the_kernel_does_not_take_megabytes_of_a_job() -> None:
    port = Socketed()
    assert 0 < port.kernel_takes <= PORT_RECEIVE
    port.connection.abort()
    port.end.close()
