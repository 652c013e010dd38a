"""A link: its closing handshake on real sockets, and its parts together."""

from __future__ import annotations

import asyncio
import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, Ping

from pagent.buffers import Bytes
from pagent.errors import LinkClosedError
from pagent.limits import FRAMES_AT_ONCE, HANDSHAKE_FRAMES, HANDSHAKE_MAX
from pagent.net.link.link import Link
from pagent.net.link.states import LinkState
from pagent.wire import frames
from tests.kit.ends import QuietUser, connected
from tests.kit.joined import MemoryTransport
from tests.kit.peer import PATIENCE_S


class Owner:
    """An owner that records its messages and events."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.lost: list[LinkClosedError] = []

    def link_message(self, payload: bytes | bytearray | memoryview) -> None:
        self.messages.append(bytes(payload))

    def link_blocked(self) -> None:
        pass

    def link_writable(self) -> None:
        pass

    def link_lost(self, error: LinkClosedError) -> None:
        self.lost.append(error)


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection: the link's, and its peer's."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    with ours, theirs:
        theirs.setblocking(False)
        yield ours, theirs


async def read_to_the_end(sock: socket.socket) -> int:
    loop, size = asyncio.get_running_loop(), 0
    while data := await loop.sock_recv(sock, 1 << 16):
        size += len(data)
    return size


async def test_unread_data_is_flushed_when_the_peer_closes(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = sockets
    owner = Owner()
    link = Link(owner, dialled=False)
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: link, sock=ours)
    link.accept_peer()
    link.send(b"x" * 4_000_000)
    await loop.sock_sendall(
        theirs,
        frames.masked_frame(frames.BINARY, b"last") + frames.masked_frame(frames.CLOSE, frames.close_payload(1000, "")),
    )
    async with asyncio.timeout(PATIENCE_S):
        assert await read_to_the_end(theirs) == 10 + 4_000_000 + 4
        error = await link.closed
    assert error.code == 1000
    assert owner.lost == [error]
    assert owner.messages == [b"last"]


async def test_a_peer_that_breaks_the_protocol_and_resets_the_connection(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = sockets
    owner = Owner()
    link = Link(owner, dialled=False)
    await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
    link.accept_peer()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.send(b"\x82\x04that is not masked")
    theirs.close()
    async with asyncio.timeout(PATIENCE_S):
        error = await link.closed
    assert owner.lost == [error]
    assert owner.messages == []


class Waiting(Owner):
    """An owner that waits: ``writable`` is set when it may send; ``allowed`` is the highest limit of the pacer seen."""

    def __init__(self) -> None:
        super().__init__()
        self.link = Link(self, dialled=False)
        self.writable = asyncio.Event()
        self.allowed = 0

    def note_limit(self) -> None:
        self.allowed = max(self.allowed, self.link.pacer.limit)

    def link_writable(self) -> None:
        self.note_limit()
        self.writable.set()


class Answers:
    """A peer made of wsproto: it answers pings as it reads."""

    def __init__(self, sock: socket.socket) -> None:
        self.received = 0
        self._sock = sock
        self._peer = Connection(ConnectionType.CLIENT)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self._sock, 1 << 18):
            self._peer.receive_data(data)
            for event in self._peer.events():
                if isinstance(event, Ping):
                    await loop.sock_sendall(self._sock, self._peer.send(event.response()))
                elif isinstance(event, BytesMessage):
                    self.received += len(event.data)


@asynccontextmanager
async def aborted(link: Link) -> AsyncIterator[None]:
    """Abort the link after the block."""
    try:
        yield
    finally:
        link.abort("the end of the test")


async def test_bulk_of_two_streams_waits_until_the_peer_has_read_it(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = sockets
    owner = Waiting()
    link = owner.link
    await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
    link.accept_peer()
    peer = Answers(theirs)
    piece, sent, held, beyond = bytes(65536), 0, 0, 0
    # Also if the test fails: the close of uvloop waits for an open transport.
    async with aborted(link), asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        reading = group.create_task(peer.run())
        while sent < 200:
            owner.writable.clear()
            while not link.pacer.held and not link.blocked and sent < 200:
                link.send_parts(sent % 2, b"", piece)
                sent += 1
            owner.note_limit()
            if held:  # until a mark is answered, the peer is not known to answer
                beyond = max(beyond, sent * len(piece) - peer.received - owner.allowed)
            held += link.pacer.held
            if link.pacer.held or link.blocked:
                await owner.writable.wait()
        reading.cancel()
    assert held
    assert beyond <= len(piece)


class Answering(QuietUser):
    """A user of a port that sends each piece of the job as a message on the link."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def port_data(self, data: bytes) -> None:
        self.link.send(data)


def connected_link(owner: Owner, *, accept: bool = True) -> tuple[Link, MemoryTransport]:
    """Return a link on a transport in memory; its peer is accepted unless ``accept`` is false."""
    link = Link(owner, dialled=False)
    transport = MemoryTransport(link)
    link.connection_made(transport)
    if accept:
        link.accept_peer()
    return link, transport


def receive(link: Link, data: bytes) -> None:
    """Receive as a loop does: into the buffers of the link."""
    while data:
        space = link.get_buffer(len(data))
        taken = min(len(space), len(data))
        space[:taken] = data[:taken]
        link.buffer_updated(taken)
        data = data[taken:]


async def test_a_flood_of_small_messages_takes_several_loop_iterations() -> None:
    owner = Owner()
    link, transport = connected_link(owner)
    count = 10 * FRAMES_AT_ONCE
    receive(link, b"".join(frames.masked_frame(frames.BINARY, b"%d" % number) for number in range(count)))
    turns = 1
    while len(owner.messages) < count:
        assert len(owner.messages) <= turns * FRAMES_AT_ONCE
        assert not transport.reading
        await asyncio.sleep(0)
        turns += 1
    assert owner.messages == [b"%d" % number for number in range(count)]
    assert turns >= 10
    assert transport.reading
    link.abort("the test is over")
    await link.closed


async def test_a_loss_in_the_middle_of_a_flood() -> None:
    owner = Owner()
    link, _ = connected_link(owner)
    receive(link, frames.masked_frame(frames.BINARY, b"x") * 3 * FRAMES_AT_ONCE)
    link.connection_lost(None)
    count = len(owner.messages)
    await link.closed
    await asyncio.sleep(0)
    assert 0 < len(owner.messages) == count <= FRAMES_AT_ONCE
    assert len(owner.lost) == 1


async def settled(link: Link) -> None:
    """Wait until the link has handled all that it received."""
    while link.has_unhandled_input:  # noqa: ASYNC110 - until the next iteration
        await asyncio.sleep(0)


async def test_an_unauthenticated_peer_is_not_answered_and_is_closed_after_too_many_frames() -> None:
    owner = Owner()
    link, transport = connected_link(owner, accept=False)
    receive(link, frames.masked_frame(frames.PING, b"hello?") * (HANDSHAKE_FRAMES - 1))
    await settled(link)
    assert not transport.out
    receive(link, frames.masked_frame(frames.BINARY, b"a handshake"))
    assert owner.messages == [b"a handshake"]
    receive(link, frames.masked_frame(frames.PING, b"hello?") * 10_000)
    assert [error.code for error in owner.lost] == [1008]
    assert len(transport.out) < 200  # the close frame
    link.abort("the test is over")
    await link.closed


@pytest.mark.parametrize("end", [0x00, 0x80])
async def test_an_unauthenticated_peer_is_closed_after_too_many_fragments(end: int) -> None:
    owner = Owner()
    link, _ = connected_link(owner, accept=False)
    fragment = frames.masked_frame(frames.CONTINUATION, b"")
    more = bytes([end | frames.CONTINUATION]) + fragment[1:]
    start = bytes([frames.BINARY]) + fragment[1:]
    receive(link, start + more * (2 * HANDSHAKE_FRAMES))
    await settled(link)
    assert [error.code for error in owner.lost] == [1008 if end == 0x00 else 1002]
    link.abort("the test is over")
    await link.closed


async def test_the_message_after_the_handshake_comes_from_an_accepted_peer() -> None:
    """It may be long, although it was received together with the handshake."""

    class Accepting(Owner):
        def link_message(self, payload: Bytes) -> None:
            super().link_message(payload)
            if link.state is LinkState.UNAUTHENTICATED:
                link.accept_peer()

    owner = Accepting()
    link, _ = connected_link(owner, accept=False)
    large = bytes(2 * HANDSHAKE_MAX)
    receive(link, frames.masked_frame(frames.BINARY, b"a handshake") + frames.masked_frame(frames.BINARY, large))
    await settled(link)
    assert owner.messages == [b"a handshake", large]
    link.abort("the test is over")
    await link.closed


async def test_an_accepted_peer_is_answered() -> None:
    link, transport = connected_link(Owner())
    receive(link, frames.masked_frame(frames.PING, b"hello?"))
    await asyncio.sleep(0)
    assert transport.out == frames.frame_header(frames.PONG, 6) + b"hello?"
    link.abort("the test is over")
    await link.closed


async def test_what_one_iteration_sends_is_one_write() -> None:
    link = Link(Owner(), dialled=False)
    transport = MemoryTransport(link)
    link.connection_made(transport)
    (first, _), (second, _) = connected(Answering(link)), connected(Answering(link))
    for _ in range(20):
        first.data_received(b"one")
        second.data_received(b"another")
        assert not transport.out
        await asyncio.sleep(0)
        assert transport.out == frames.binary_frame(b"one", b"") + frames.binary_frame(b"another", b"")
        transport.out.clear()
    link.abort("the test is over")
    await link.closed


async def test_an_idle_link_has_no_receive_buffer() -> None:
    tracemalloc.start()
    try:
        links = [accepted_and_read() for _ in range(20)]
        before = tracemalloc.get_traced_memory()[0]
        links += [accepted_and_read() for _ in range(20)]
        await asyncio.sleep(0)
        assert (tracemalloc.get_traced_memory()[0] - before) / 20 < 32_000
    finally:
        tracemalloc.stop()
    for link in links:
        link.abort("the test is over")


def accepted_and_read() -> Link:
    """Return a link with an accepted peer that has received a message."""
    owner = Owner()
    link = Link(owner, dialled=True)
    link.connection_made(MemoryTransport(link))
    link.accept_peer()
    frame = frames.binary_frame(b"a message", b"")
    link.get_buffer(-1)[: len(frame)] = frame
    link.buffer_updated(len(frame))
    assert owner.messages == [b"a message"]
    return link
