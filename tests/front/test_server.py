from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
import sys
from pathlib import Path

import pytest

from pagent.config.router import RouterControl, SpoolSettings
from pagent.front.server import FrontServer
from pagent.front.spools import FrontSpools
from pagent.net.accept.listening import listen
from tests.front.test_user import get, until
from tests.kit.directory import Elsewhere, Front, running_front
from tests.kit.wire import wire

ROOM = 8
#: Of a listening socket, tcpi_sacked is its backlog (tcp(7), and tcp_get_info in the kernel).
_BACKLOG_OFFSET = 28


@pytest.fixture
def few_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that leaves room for ROOM connections; what is open does not matter to it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2 * ROOM, hard))


async def test_when_there_is_no_room_idle_connections_are_closed(front: Front, few_descriptors: None) -> None:
    async with running_front(front.jobs) as small, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(wire(small.port)) for _ in range(ROOM)]
        await until(lambda: _at(small, ROOM))
        late = await stack.enter_async_context(wire(small.port))
        reads = [asyncio.ensure_future(client.is_closed()) for client in clients]
        closed, kept = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
        assert (len(closed), len(kept)) == (1, ROOM - 1)
        for read in kept:
            read.cancel()
        late.say(b"GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n!")
        assert (await late.rest()).startswith(b"elsewhere: ")


async def test_when_all_are_in_use_a_new_one_is_refused(
    front: Front, job: str, few_descriptors: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_front(front.jobs) as small, contextlib.AsyncExitStack() as stack:
        for _ in range(ROOM):
            client = await stack.enter_async_context(wire(small.port))
            client.say(get(f"{job}/events"))
            await client.head()
        late = await stack.enter_async_context(wire(small.port))
        assert await late.is_closed()
        assert small.server.connections == ROOM
        assert f"connection refused: {ROOM} connections of users are open" in caplog.text


async def test_connections_without_a_request_make_room_first(front: Front, job: str, few_descriptors: None) -> None:
    """Also those of which a part of a head has come; a client that makes requests keeps its connection."""
    async with running_front(front.jobs) as small, contextlib.AsyncExitStack() as stack:
        honest = await stack.enter_async_context(wire(small.port))
        assert (await honest.ask(get(f"{job}/hello"))).status == 200
        for number in range(3 * ROOM):
            flood = await stack.enter_async_context(wire(small.port))
            if number % 2:
                flood.say(b"GET / HTTP/1.1\r\nHost:")
        late = await stack.enter_async_context(wire(small.port))
        for client in (honest, late):
            assert (await client.ask(get(f"{job}/hello"))).status == 200
        assert small.server.connections <= ROOM


async def test_handshakes_are_connections(
    front: Front, job: str, few_descriptors: None, certificate: tuple[Path, Path]
) -> None:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    trusting.check_hostname = False
    async with running_front(front.jobs, tls=served) as small, contextlib.AsyncExitStack() as stack:
        honest = await stack.enter_async_context(wire(small.port, tls=trusting))
        assert (await honest.ask(get(f"{job}/hello"))).status == 200
        unfinished = [await stack.enter_async_context(wire(small.port)) for _ in range(2 * ROOM)]
        await until(lambda: _at(small, ROOM))
        late = await stack.enter_async_context(wire(small.port, tls=trusting))
        for client in (honest, late):
            assert (await client.ask(get(f"{job}/hello"))).status == 200
        assert await unfinished[0].is_closed()


async def _at(front: Front, count: int) -> bool:
    return front.server.connections == count


async def test_its_end_ends_connections_and_calls(front: Front, job: str) -> None:
    link = front.jobs.link
    assert link is not None
    async with running_front(front.jobs) as ending, wire(ending.port) as idle, wire(ending.port) as busy:
        busy.say(get(f"{job}/echo", "Connection: Upgrade", "Upgrade: mine/2"))
        await busy.head()
        await ending.server.close()
        assert await idle.is_closed()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await busy.rest()
        assert not link.connection.outgoing
        with pytest.raises(ConnectionRefusedError):
            async with wire(ending.port):
                pass


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO of listening sockets")
async def test_the_backlog_is_that_of_all_listeners(front: Front) -> None:
    server = FrontServer(front.jobs, front.gate, Elsewhere, RouterControl(), FrontSpools(SpoolSettings()))
    (sock,) = listen("127.0.0.1", 0)
    with sock.dup() as same:
        before = _backlog(same)
        await server.listen([sock])
        assert _backlog(same) == before
        await server.close()


def _backlog(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[_BACKLOG_OFFSET : _BACKLOG_OFFSET + 4]


async def test_a_silent_client_of_tls_is_closed_as_one_with_half_a_head(
    front: Front, certificate: tuple[Path, Path]
) -> None:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(*certificate)
    async with running_front(front.jobs, tls=served, head_s=0.2) as secure, wire(secure.port) as client:
        assert await client.is_closed()


async def test_with_tls(front: Front, job: str, certificate: tuple[Path, Path]) -> None:
    made, key = certificate
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(made, key)
    trusting = ssl.create_default_context(cafile=str(made))
    trusting.check_hostname = False
    async with running_front(front.jobs, tls=served) as secure:
        async with wire(secure.port, tls=trusting) as client:
            answer = await client.ask(get(f"{job}/head"))
            assert b"X-Forwarded-Proto: https\r\n" in answer.body
            client.say(get(f"{job}/echo", "Connection: Upgrade", "Upgrade: mine/2") + b"early")
            assert (await client.head())[0] == 101
            assert await client.reader.readexactly(11) == b"first early"
        async with wire(secure.port, tls=trusting) as client:
            assert len((await client.ask(get(f"{job}/bytes/3000000"))).body) == 3_000_000
            client.say(b"GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n!")
            assert (await client.rest()).startswith(b"elsewhere: ")
        assert secure.elsewhere[0].client.secure
