"""Peers at the RPC port that are not known yet: each has a place until it is accepted, or gone."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import msgpack
import pytest
from aiohttp.web_protocol import RequestHandler

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
#: The answer is a 404, behind which aiohttp waits for the rest of the body.
UNFINISHED = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"


@asynccontextmanager
async def stranger(port: int, said: bytes) -> AsyncIterator[bytes]:
    """The first line of the answer to what was said; empty if there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(said)
        async with asyncio.timeout(PATIENCE_S):
            try:
                yield await reader.readline()
            except ConnectionError:
                yield b""
    finally:
        writer.transport.abort()


async def gets_in(port: int, said: bytes, answer: bytes) -> None:
    """Wait until there is a place again: the agent has to notice first that one is gone."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with stranger(port, said) as line:
                if answer in line:
                    return


class Refused:
    """A connection that is refused at once, and whose socket stays."""

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
    """The port of a server that refuses all links."""
    server = WebServer()
    links: list[Link] = []

    def refuse() -> Refused:
        refused = Refused()
        links.append(refused.link)
        return refused

    yield await server.listen("test", rpc_app(refuse), "127.0.0.1", 0)
    for link in links:
        link.abort("the test is over")
    await server.close()


async def waits(port: int, said: bytes) -> None:
    """Who comes now is neither answered nor dropped, until there is a place."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(said)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), PLACE_SILENT_S / 4)
    finally:
        writer.transport.abort()


async def test_who_was_refused_keeps_its_place_until_its_socket_is_closed(refusing: int) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(HANDSHAKES_WAITING - 1):
            assert b" 101 " in await stack.enter_async_context(stranger(refusing, UPGRADE))
        async with stranger(refusing, UPGRADE) as line:
            assert b" 101 " in line
            await waits(refusing, UPGRADE)
        await gets_in(refusing, UPGRADE, b" 101 ")


async def test_links_that_wait_for_their_handshake_and_requests_have_the_same_places(agent: Agent) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(HANDSHAKES_WAITING // 2):
            assert b" 101 " in await stack.enter_async_context(stranger(agent.rpc_port, UPGRADE))
        for _ in range(HANDSHAKES_WAITING // 2):
            assert b" 404 " in await stack.enter_async_context(stranger(agent.rpc_port, UNFINISHED))
        for said in (UPGRADE, UNFINISHED):
            await waits(agent.rpc_port, said)


async def attack(port: int, said: bytes) -> None:
    """Dial, say this and no more, and dial again as soon as that is dropped."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(said)
                while await reader.read(4096):
                    pass
            finally:
                writer.transport.abort()


@pytest.mark.parametrize("said", [b"", b"GET /rpc", UNFINISHED, UPGRADE, UPGRADE + b"\x82"])
async def test_peers_that_stop_half_way_keep_no_router_out(agent: Agent, said: bytes) -> None:
    attackers = [asyncio.create_task(attack(agent.rpc_port, said)) for _ in range(HANDSHAKES_WAITING + 10)]
    try:
        await asyncio.sleep(0.2)  # until they are in
        for _ in range(2):
            async with asyncio.timeout(PATIENCE_S), peers.dial(agent.rpc_port, TOKEN) as peer:
                assert await peer.call("job_count_current_connection") == 0
    finally:
        for task in attackers:
            task.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)


async def flood(port: int, said: bytes, more: bytes) -> None:
    """Send without end, read nothing, and dial again when that is dropped."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(said)
                while True:
                    writer.write(more)
                    await writer.drain()
            finally:
                writer.transport.abort()


@pytest.mark.parametrize(
    ("said", "more"),
    [
        (b"POST /nowhere HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + bytes(4096) + b"\r\n"),
        (b"", b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 100),
        (UPGRADE, frame(0x89, b"x" * 125, masked=True) * 100),
    ],
    ids=["body", "pipelined", "pings"],
)
@pytest.mark.slow
async def test_peers_that_flood_keep_no_router_out(agent: Agent, said: bytes, more: bytes) -> None:
    attackers = [asyncio.create_task(flood(agent.rpc_port, said, more)) for _ in range(HANDSHAKES_WAITING)]
    try:
        await asyncio.sleep(0.2)  # until they are in
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S), peers.dial(agent.rpc_port, TOKEN) as peer:
            assert await peer.call("job_count_current_connection") == 0
    finally:
        for task in attackers:
            task.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)


async def test_a_router_that_does_not_wait_for_the_answer(agent: Agent) -> None:
    """Its handshake comes in the same packet as its request."""
    hello = msgpack.packb([1, 1, [1, None, {"auth": {"uid": "u", "name": "n", "token": TOKEN}}]])
    async with stranger(agent.rpc_port, UPGRADE + frame(0x82, hello, masked=True)) as line:
        assert b" 101 " in line
        await eventually(lambda: len(agent.links) > 0)


async def test_links_need_no_place(agent: Agent) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(HANDSHAKES_WAITING + 2):
            peer = await stack.enter_async_context(peers.dial(agent.rpc_port, TOKEN))
        assert await peer.call("job_count_current_connection") == 0


@pytest.mark.slow
async def test_nothing_is_kept_of_those_that_are_gone(agent: Agent) -> None:
    def kept() -> int:
        gc.collect()
        return sum(isinstance(thing, RequestHandler) for thing in gc.get_objects())

    before = kept()
    for _ in range(20):
        async with stranger(agent.rpc_port, UPGRADE) as line:
            assert b" 101 " in line
        async with peers.dial(agent.rpc_port, TOKEN) as peer:
            assert await peer.call("job_count_current_connection") == 0
            assert kept() <= before + 1, "a link needs none"
    await eventually(lambda: kept() == before)


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
