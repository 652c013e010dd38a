"""Unauthenticated peers at the RPC port: each has a place at the gate until it is accepted or closed."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import msgpack
import pytest
from aiohttp.web_protocol import RequestHandler
from websockets.exceptions import ConnectionClosed

from pagent.agent import Agent
from pagent.buffers import Bytes
from pagent.errors import LinkClosedError
from pagent.limits import HANDSHAKE_TIMEOUT_S, HANDSHAKES_WAITING, PLACE_SILENT_S
from pagent.net.link.buffer_pool import RECEIVE_BUFFER
from pagent.net.link.link import Link
from pagent.web.rpc_app import rpc_app
from pagent.web.server import WebServer
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import PATIENCE_S
from tests.kit.transfers import eventually
from tests.wire.test_frames import frame

UPGRADE = (
    b"GET /rpc/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v1.prpc.datadvance\r\n\r\n"
)
#: The response is a 404. Then aiohttp waits for the rest of the body.
UNFINISHED = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"


@asynccontextmanager
async def unauthenticated(port: int, sent: bytes) -> AsyncIterator[bytes]:
    """Connect and send bytes; yield the first line of the response, empty if there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(PATIENCE_S):
            try:
                yield await reader.readline()
            except ConnectionError:
                yield b""
    finally:
        writer.transport.abort()


async def wait_for_place(port: int, sent: bytes, answer: bytes) -> None:
    """Wait until there is a free place: the agent has to notice a closed connection first."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with unauthenticated(port, sent) as line:
                if answer in line:
                    return


class RefusedConnection:
    """A connection whose handshake is refused at once, and whose socket stays open."""

    def __init__(self) -> None:
        self.link = Link(self, dialled=False)
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        self.ready.set_exception(LinkClosedError(1002, "refused"))
        self.ready.exception()

    def link_message(self, payload: Bytes) -> None: ...

    def link_blocked(self) -> None: ...

    def link_writable(self) -> None: ...

    def link_lost(self, error: LinkClosedError) -> None: ...


@pytest.fixture
async def refusing() -> AsyncIterator[int]:
    """Return the port of a server that refuses all links."""
    server = WebServer()
    links: list[Link] = []

    def refuse() -> RefusedConnection:
        refused = RefusedConnection()
        links.append(refused.link)
        return refused

    yield await server.listen("test", rpc_app(refuse), "127.0.0.1", 0)
    for link in links:
        link.abort("the test is over")
    await server.close()


async def no_response(port: int, sent: bytes) -> None:
    """Check that a new connection is neither answered nor closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), PLACE_SILENT_S / 4)
    finally:
        writer.transport.abort()


async def test_a_refused_link_keeps_its_place_until_its_socket_is_closed(refusing: int) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(HANDSHAKES_WAITING - 1):
            assert b" 101 " in await stack.enter_async_context(unauthenticated(refusing, UPGRADE))
        async with unauthenticated(refusing, UPGRADE) as line:
            assert b" 101 " in line
            await no_response(refusing, UPGRADE)
        await wait_for_place(refusing, UPGRADE, b" 101 ")


async def test_handshakes_and_requests_share_the_places(agent: Agent) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(HANDSHAKES_WAITING // 2):
            assert b" 101 " in await stack.enter_async_context(unauthenticated(agent.rpc_port, UPGRADE))
        for _ in range(HANDSHAKES_WAITING // 2):
            assert b" 404 " in await stack.enter_async_context(unauthenticated(agent.rpc_port, UNFINISHED))
        for sent in (UPGRADE, UNFINISHED):
            await no_response(agent.rpc_port, sent)


async def attack(port: int, sent: bytes) -> None:
    """Connect and send some bytes; connect again when the connection is closed."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(sent)
                while await reader.read(4096):
                    pass
            finally:
                writer.transport.abort()


@pytest.mark.parametrize("sent", [b"", b"GET /rpc", UNFINISHED, UPGRADE, UPGRADE + b"\x82"])
async def test_incomplete_handshakes_keep_no_router_out(agent: Agent, sent: bytes) -> None:
    attackers = [asyncio.create_task(attack(agent.rpc_port, sent)) for _ in range(HANDSHAKES_WAITING + 10)]
    try:
        await asyncio.sleep(0.2)  # until they have places
        for _ in range(2):
            async with asyncio.timeout(PATIENCE_S), peers.dial(agent.rpc_port, TOKEN) as peer:
                assert await peer.call("job_count_current_connection") == 0
    finally:
        for task in attackers:
            task.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)


async def drip(port: int, sent: bytes, more: bytes) -> None:
    """Connect and send some bytes, then a byte now and then; connect again when the connection is closed."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(sent)
                number = 0
                while not reader.at_eof():
                    await asyncio.sleep(0.2)
                    writer.write(more[number % len(more) :][:1])
                    await writer.drain()
                    number += 1
            finally:
                writer.transport.abort()


@pytest.mark.parametrize(
    ("sent", "more"),
    [
        (UPGRADE[:40], b"x"),
        (UPGRADE, frame(0x82, bytes(1000), masked=True)),
        (b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x"),
    ],
    ids=["head", "handshake", "body"],
)
async def test_dripping_connections_keep_no_router_out(agent: Agent, sent: bytes, more: bytes) -> None:
    drips = [asyncio.create_task(drip(agent.rpc_port, sent, more)) for _ in range(200)]
    try:
        await asyncio.sleep(1)  # until all have sent some bytes
        for _ in range(2):
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S / 2), peers.dial(agent.rpc_port, TOKEN) as peer:
                assert await peer.call("job_count_current_connection") == 0
    finally:
        for task in drips:
            task.cancel()
        await asyncio.gather(*drips, return_exceptions=True)


async def flood(port: int, sent: bytes, more: bytes) -> None:
    """Send without end and read nothing; connect again when the connection is closed."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(sent)
                while True:
                    writer.write(more)
                    await writer.drain()
            finally:
                writer.transport.abort()


@pytest.mark.parametrize(
    ("sent", "more"),
    [
        (b"POST /nowhere HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + bytes(4096) + b"\r\n"),
        (b"", b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 100),
        (UPGRADE, frame(0x89, b"x" * 125, masked=True) * 100),
    ],
    ids=["body", "pipelined", "pings"],
)
@pytest.mark.slow
async def test_floods_keep_no_router_out(agent: Agent, sent: bytes, more: bytes) -> None:
    attackers = [asyncio.create_task(flood(agent.rpc_port, sent, more)) for _ in range(HANDSHAKES_WAITING)]
    try:
        await asyncio.sleep(0.2)  # until they have places
        async with asyncio.timeout(PATIENCE_S):
            while not await is_accepted(agent.rpc_port):  # the floods share the processor, so a router may need a retry
                pass
    finally:
        for task in attackers:
            task.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)


async def is_accepted(port: int) -> bool:
    """Return whether a link can be opened, and used."""
    with suppress(ConnectionClosed, OSError):
        async with peers.dial(port, TOKEN) as peer:
            return await peer.call("job_count_current_connection") == 0
    return False


async def test_a_handshake_in_the_packet_of_the_upgrade_request(agent: Agent) -> None:
    hello = msgpack.packb([1, 1, [1, None, {"auth": {"uid": "u", "name": "n", "token": TOKEN}}]])
    async with unauthenticated(agent.rpc_port, UPGRADE + frame(0x82, hello, masked=True)) as line:
        assert b" 101 " in line
        await eventually(lambda: len(agent.links) > 0)


async def test_links_need_no_place(agent: Agent) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(HANDSHAKES_WAITING + 2):
            peer = await stack.enter_async_context(peers.dial(agent.rpc_port, TOKEN))
        assert await peer.call("job_count_current_connection") == 0


@pytest.mark.slow
async def test_closed_connections_leave_no_handlers(agent: Agent) -> None:
    def kept() -> int:
        gc.collect()
        return sum(issubclass(type(thing), RequestHandler) for thing in gc.get_objects())

    before = kept()
    for _ in range(20):
        async with unauthenticated(agent.rpc_port, UPGRADE) as line:
            assert b" 101 " in line
        async with peers.dial(agent.rpc_port, TOKEN) as peer:
            assert await peer.call("job_count_current_connection") == 0
            assert kept() <= before + 1, "a link has no handler"
    await eventually(lambda: kept() <= before)  # those of other tests may go as well


async def test_the_buffers_of_a_link_do_not_wait_for_the_garbage_collector(agent: Agent) -> None:
    tracemalloc.start()
    gc.disable()
    try:
        for _ in range(20):
            async with peers.dial(agent.rpc_port, TOKEN) as peer:
                assert await peer.call("job_count_current_connection") == 0
        await eventually(lambda: len(agent.links) == 0)
        assert tracemalloc.get_traced_memory()[0] < 10 * RECEIVE_BUFFER
    finally:
        gc.enable()
        tracemalloc.stop()
