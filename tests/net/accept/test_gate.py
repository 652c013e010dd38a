"""Connections of unauthenticated peers: their number, and which of them make room for others."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from pagent.limits import HANDSHAKE_TIMEOUT_S, HANDSHAKES_WAITING, PLACE_SILENT_S
from pagent.net.accept import gate as gates
from pagent.net.accept import place as placing
from pagent.net.accept.gate import ConnectionGate
from pagent.net.accept.listening import listen
from pagent.net.accept.place import Place
from tests.kit.peer import PATIENCE_S
from tests.kit.transfers import eventually
from tests.net.accept.test_first_flight import client_hello

HELLO = b"hello\n"
#: A whole line that is no hello.
BEGUN = b"wait\n"


class Greeter(asyncio.Protocol):
    """A protocol that accepts a peer after its hello line, and answers with its number."""

    known = 0

    def __init__(self, place: Place) -> None:
        self.place = place
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.place.opened(self.transport)

    def data_received(self, data: bytes) -> None:
        self.place.heard()
        self.data += data
        if self.data.endswith(HELLO):
            Greeter.known += 1
            self.place.leave(known=True)
            self.transport.write(b"%d\n" % Greeter.known)

    def connection_lost(self, exc: Exception | None) -> None:
        self.place.leave()


@pytest.fixture(params=["plain", "tls"])
def contexts(request: pytest.FixtureRequest) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """For the accepting and the dialling side."""
    if request.param == "plain":
        return None, None
    certificate, key = request.getfixturevalue("certificate")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


class Rig:
    def __init__(self, server: ssl.SSLContext | None, client: ssl.SSLContext | None) -> None:
        sockets = listen("127.0.0.1", 0)
        self.port = sockets[0].getsockname()[1]
        self.client = client
        self.gate = ConnectionGate(sockets, Greeter, tls=server, is_whole_start=lambda data: data.endswith(b"\n"))
        self.begin = BEGUN if server is None else client_hello()
        self.sockets: list[socket.socket] = []

    def connect(self, said: bytes = b"") -> socket.socket:
        """Make a raw connection that has sent these bytes."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.sendall(said)
        sock.setblocking(False)
        self.sockets.append(sock)
        return sock

    async def greet(self) -> bytes:
        """Return the answer to a peer that sends a hello; empty if its connection was dropped."""
        name = None if self.client is None else "localhost"
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=self.client, server_hostname=name
            )
            writer.write(HELLO)
            try:
                return await reader.readline()
            finally:
                writer.transport.abort()
        except OSError:
            return b""

    async def fill(self, said: bytes = b"") -> list[socket.socket]:
        """Take all places."""
        made = [self.connect(said) for _ in range(HANDSHAKES_WAITING - self.gate.taken)]
        async with asyncio.timeout(PATIENCE_S):
            await eventually(lambda: self.gate.taken == HANDSHAKES_WAITING)
        return made


@pytest.fixture
async def rig(contexts: tuple[Any, Any]) -> AsyncIterator[Rig]:
    rig = Rig(*contexts)
    yield rig
    await rig.gate.close()
    for sock in rig.sockets:
        sock.close()


async def dropped(sock: socket.socket) -> None:
    async with asyncio.timeout(PATIENCE_S):
        try:
            while await asyncio.get_running_loop().sock_recv(sock, 4096):
                pass
        except ConnectionError:
            pass


async def redialled(rig: Rig, said: bytes) -> None:
    """Dial, send this, and dial again as often as the connection is dropped."""
    while True:
        await dropped(rig.connect(said))


async def test_places_are_given_back(rig: Rig) -> None:
    for _ in range(2 * HANDSHAKES_WAITING):
        assert await rig.greet()
    for sock in [rig.connect(b"x") for _ in range(10)]:
        sock.close()
    await eventually(lambda: rig.gate.taken == 0)


@pytest.mark.slow
async def test_a_thousand_dials_at_once_all_get_in(rig: Rig) -> None:
    async with asyncio.timeout(2 * PATIENCE_S):
        answers = await asyncio.gather(*(rig.greet() for _ in range(1000)))
    assert b"" not in answers
    await eventually(lambda: rig.gate.taken == 0)


@pytest.mark.parametrize("way", ["silent", "partial", "begun"])
async def test_peers_that_stop_do_not_keep_others_out(rig: Rig, way: str) -> None:
    """They dial again as fast as they are dropped."""
    said = {"silent": b"", "partial": rig.begin[:3], "begun": rig.begin}[way]
    attack = [asyncio.create_task(redialled(rig, said)) for _ in range(HANDSHAKES_WAITING)]
    try:
        async with asyncio.timeout(PATIENCE_S):
            await eventually(lambda: rig.gate.taken == HANDSHAKES_WAITING)
            for _ in range(3):
                assert await rig.greet()
    finally:
        for task in attack:
            task.cancel()
        await asyncio.gather(*attack, return_exceptions=True)


async def drip(rig: Rig, first: bytes, rest: bytes) -> None:
    """Send ``first``, then a byte now and then, and dial again as often as the connection is dropped."""
    loop = asyncio.get_running_loop()
    while True:
        sock = rig.connect(first)
        with contextlib.suppress(OSError):
            for number in range(1000):
                await asyncio.sleep(0.2)
                await loop.sock_sendall(sock, rest[number % len(rest) :][:1])


@pytest.mark.parametrize("way", ["from the first byte", "after the first flight"])
async def test_peers_that_drip_do_not_keep_others_out(rig: Rig, way: str) -> None:
    """Each sends a byte now and then, which completes nothing."""
    first, rest = (b"", rig.begin[:3]) if way == "from the first byte" else (rig.begin, b"\x14\x03\x03\x00\x01")
    drips = [asyncio.create_task(drip(rig, first, rest)) for _ in range(200)]
    try:
        async with asyncio.timeout(PATIENCE_S):
            await eventually(lambda: rig.gate.taken == HANDSHAKES_WAITING)
            await asyncio.sleep(0.5)  # all have sent some bytes, also those in the kernel's queue
        for _ in range(3):
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S / 2):
                assert await rig.greet()
    finally:
        for task in drips:
            task.cancel()
        await asyncio.gather(*drips, return_exceptions=True)


async def test_a_first_flight_in_pieces_is_accepted(rig: Rig) -> None:
    sock = rig.connect()
    for byte in rig.begin:
        sock.send(bytes([byte]))
        await asyncio.sleep(0)
    if rig.client is None:
        sock.send(HELLO)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE_S):
        assert await loop.sock_recv(sock, 4096)  # the answer, or the flight of the TLS server


async def test_the_longest_waiting_makes_room_first(rig: Rig) -> None:
    first = rig.connect()
    await eventually(lambda: rig.gate.taken == 1)
    await asyncio.sleep(0.05)  # so that it has waited longer than the others
    await rig.fill()
    assert await rig.greet()
    await dropped(first)
    assert rig.gate.taken == HANDSHAKES_WAITING - 1  # and no other


async def test_no_connection_is_dropped_while_places_are_free(rig: Rig) -> None:
    quiet = rig.connect()
    await eventually(lambda: rig.gate.taken == 1)
    for _ in range(3):
        await asyncio.sleep(PLACE_SILENT_S / 2)
        assert await rig.greet()
    with pytest.raises(BlockingIOError):
        quiet.recv(1)


async def test_accepting_pauses_while_no_connection_has_to_make_room(rig: Rig) -> None:
    """The connections have begun; a new one waits in the kernel's queue, and is not dropped."""
    here = await rig.fill(rig.begin)
    late = rig.connect()
    await asyncio.sleep(PLACE_SILENT_S / 4)
    assert rig.gate.taken == HANDSHAKES_WAITING
    with pytest.raises(BlockingIOError):
        late.recv(1)
    greeted = asyncio.create_task(rig.greet())
    for sock in here[:2]:
        sock.close()
    async with asyncio.timeout(PATIENCE_S):
        assert await greeted


async def test_a_place_has_a_time_limit(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "HANDSHAKE_TIMEOUT_S", 0.2)
    for said in (b"", rig.begin[:3], rig.begin):
        await dropped(rig.connect(said))
    await eventually(lambda: rig.gate.taken == 0)


async def test_close_drops_all_in_any_stage(rig: Rig) -> None:
    made = [rig.connect(), rig.connect(rig.begin[:3]), rig.connect(rig.begin)]
    await eventually(lambda: rig.gate.taken == 3)
    made.append(rig.connect(rig.begin))  # perhaps still in the queue
    await rig.gate.close()
    for sock in made:
        await dropped(sock)
    assert rig.gate.taken == 0
    with pytest.raises(ConnectionRefusedError):
        rig.connect()


async def test_without_descriptors_accepting_pauses_and_resumes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept = socket.socket.accept
    failing = 3

    def short(self: socket.socket) -> tuple[socket.socket, Any]:
        nonlocal failing
        if failing:
            failing -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    monkeypatch.setattr(gates, "ACCEPT_RETRY_S", 0.02)
    monkeypatch.setattr(socket.socket, "accept", short)
    async with asyncio.timeout(PATIENCE_S):
        assert await rig.greet()
    assert caplog.messages.count("no connection can be accepted: Too many open files") == 3


@pytest.mark.parametrize("contexts", ["tls"], indirect=True)
async def test_the_fault_of_a_handshake_is_logged(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await dropped(rig.connect(b"GET / HTTP/1.1\r\n\r\n"))
    await eventually(lambda: "the peer does not speak TLS" in caplog.text)


@pytest.mark.parametrize("contexts", ["tls"], indirect=True)
async def test_a_peer_without_a_certificate_that_has_to_show_one(
    rig: Rig, caplog: pytest.LogCaptureFixture, certificate: tuple[Path, Path]
) -> None:
    assert rig.gate.tls is not None
    rig.gate.tls.verify_mode = ssl.CERT_REQUIRED
    rig.gate.tls.load_verify_locations(certificate[0])
    assert await rig.greet() == b""
    await eventually(lambda: "the peer sent no certificate, which server.tls.ca requires" in caplog.text)
