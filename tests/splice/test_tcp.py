"""Raw bytes between a stream and a connection: back pressure and the end of each direction pass to the other side."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pagent.net.port.connect import connect_port
from pagent.net.port.connection import PortConnection
from pagent.splice.tcp import TcpSplice
from tests.kit.ends import MemoryPort, MemoryStream, connected
from tests.kit.peer import PATIENCE_S


class Spliced:
    """A splice with both its ends in memory; ``results`` are the errors it ended with."""

    def __init__(self, *, started: bool = True) -> None:
        self.stream = MemoryStream()
        self.results: list[Exception | None] = []
        self.splice = TcpSplice(self.stream, self.results.append)
        self.connection: PortConnection
        self.port: MemoryPort
        self.connection, self.port = connected(self.splice)
        if started:
            self.splice.start(self.connection)


async def test_bytes_go_both_ways_in_order() -> None:
    both = Spliced()
    for piece in (b"one", b"two"):
        both.connection.data_received(piece)
        both.stream.arrive(piece.upper())
    both.stream.arrive(memoryview(b"THREE"))
    assert both.stream.sent == [b"one", b"two"]
    assert both.port.written == b"ONETWOTHREE"
    assert both.results == []


#: The event, and the direction that it ends.
ENDS: dict[str, Callable[[Spliced], Any]] = {
    "the job": lambda both: both.connection.eof_received(),
    "the caller": lambda both: both.stream.arrive(b""),
    "the caller's stream": lambda both: both.splice.stream_closed(),
}


@pytest.mark.parametrize(
    "order", [("the job", "the caller"), ("the caller", "the job"), ("the job", "the caller's stream"),
              ("the caller's stream", "the job"), ("the caller", "the caller's stream", "the job")]
)  # fmt: skip
async def test_it_is_over_once_both_directions_are(order: Iterable[str]) -> None:
    both = Spliced()
    *first, last = order
    for end in first:
        ENDS[end](both)
    assert both.results == []
    assert not both.port.is_closing()
    ENDS[last](both)
    assert both.results == [None]
    assert both.stream.sent == [b""]
    assert both.port.eof
    assert both.port.closing
    assert not both.port.aborted  # the last bytes are still flushed


async def test_the_other_direction_continues_after_a_half_close() -> None:
    both = Spliced()
    both.connection.eof_received()
    both.stream.arrive(b"more")
    assert both.port.written == b"more"
    other = Spliced()
    other.stream.arrive(b"")
    other.connection.data_received(b"more")
    assert other.stream.sent == [b"more"]
    assert both.results == other.results == []


async def test_data_of_a_caller_after_its_end_is_an_error() -> None:
    both = Spliced()
    both.stream.arrive(b"")
    for more in (b"more", b""):
        with pytest.raises(ValueError, match="after the end"):
            both.stream.arrive(more)
    assert both.port.written == b""


@pytest.mark.parametrize("value", ["text", 1, True, None, ["list"], {}])
async def test_only_bytes_are_carried(value: object) -> None:
    both = Spliced()
    with pytest.raises(ValueError, match="carries bytes"):
        both.stream.arrive(value)
    assert both.port.written == b""


async def test_pause_crosses_over() -> None:
    both = Spliced()
    states = []
    for step in (
        both.stream.block,
        both.stream.unblock,
        both.connection.pause_writing,
        both.connection.resume_writing,
    ):
        step()
        states.append((both.port.reading, both.stream.held))
    assert states == [(False, False), (True, False), (True, True), (True, False)]


async def test_what_the_job_says_before_the_start_is_carried_and_may_block() -> None:
    both = Spliced(started=False)
    both.connection.data_received(b"greeting")
    both.stream.blocked = True
    both.stream.arrive(b"early")
    both.splice.start(both.connection)
    assert both.stream.sent == [b"greeting"]
    assert both.port.written == b"early"
    assert both.port.reading is False


async def test_a_job_that_ends_its_direction_before_the_start() -> None:
    both = Spliced(started=False)
    both.connection.eof_received()
    assert both.stream.sent == [b""]
    assert both.results == []
    both.stream.arrive(b"")
    both.splice.start(both.connection)
    assert both.results == [None]


async def test_a_connection_that_is_lost_before_the_start_is_an_error_once() -> None:
    both = Spliced(started=False)
    both.connection.connection_lost(None)
    both.splice.start(both.connection)
    assert [type(result) for result in both.results] == [ConnectionResetError]
    assert both.stream.receiver is None


async def test_a_lost_connection_is_an_error_also_after_its_half_close() -> None:
    both = Spliced()
    both.connection.eof_received()
    error = BrokenPipeError("gone")
    both.splice.port_lost(error)
    assert both.results == [error]


async def test_a_lost_stream_drops_the_connection() -> None:
    both = Spliced()
    both.splice.stream_lost("the link is gone")
    assert both.port.aborted
    [error] = both.results
    assert isinstance(error, ConnectionAbortedError)
    assert str(error) == "the link is gone"
    both.connection.connection_lost(None)
    assert both.results == [error]


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_an_end_is_reported_once_however_often_reading_is_resumed() -> None:
    """Both loops meet the end of a socket again when reading is resumed after it."""
    ended, received = asyncio.Event(), asyncio.Queue[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        while data := await reader.read(100):
            received.put_nowait(data)
        writer.close()
        ended.set()

    class Stream(MemoryStream):
        def send(self, value: Any) -> None:
            super().send(value)
            if value == b"":
                sent.set()

    sent = asyncio.Event()
    stream = Stream()
    results: list[Exception | None] = []
    splice = TcpSplice(stream, results.append)
    async with listening(serve) as number, asyncio.timeout(PATIENCE_S):
        splice.start(await connect_port(number, splice))
        await sent.wait()
        for _ in range(2):
            stream.block()
            stream.unblock()
            stream.arrive(b"still here")  # the job has read it in a later iteration of the loop
            await received.get()
        stream.arrive(b"")
        await ended.wait()
    assert stream.sent == [b"bye", b""]
    assert results == [None]


async def test_a_job_that_resets_its_connection_ends_the_splice_with_the_error() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        linger = (1).to_bytes(4, "little") + bytes(4)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    stream = MemoryStream()
    done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    splice = TcpSplice(stream, done.set_result)
    async with listening(serve) as number, asyncio.timeout(PATIENCE_S):
        splice.start(await connect_port(number, splice))
        stream.arrive(b"go")
        assert isinstance(await done, ConnectionResetError)
    assert stream.sent == []
