"""One place: its stages, when it has to make room, and that it is given back once.

Times are given, not waited for. Where the kernel's figures of a connection must not count, the sockets are not TCP.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from pagent.limits import PLACE_DRIP_S, PLACE_PARTIAL_S, PLACE_SILENT_S, PLACE_UPLOAD_RATE
from pagent.net.accept import place as placing
from pagent.net.accept.place import Place, Unused, address_of
from pagent.net.accept.stages import Stage
from tests.kit.peer import PATIENCE_S
from tests.kit.transfers import eventually

LINE = b"a whole line\n"


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.aborted = 0

    def abort(self) -> None:
        self.aborted += 1


class FakeGate:
    """A gate that opens connections when the test says so. The first bytes are a line."""

    def __init__(self) -> None:
        self.taken = 7
        self.is_scarce = False
        self.left_as: list[bool] = []
        self.openings: list[asyncio.Task[None]] = []

    def is_whole(self, data: bytes) -> bool:
        return data.endswith(b"\n")

    def open(self, place: Place, sock: socket.socket) -> asyncio.Task[None]:
        self.openings.append(asyncio.create_task(asyncio.Event().wait()))  # type: ignore[arg-type]
        return self.openings[-1]

    def left(self, place: Place, *, known: bool) -> None:
        self.left_as.append(known)


class Rig:
    """A place of one end of a connection; ``peer`` is the other end."""

    def __init__(self, ours: socket.socket, peer: socket.socket) -> None:
        self.gate = FakeGate()
        self.socket = ours
        self.peer = peer
        self.transport = FakeTransport()
        self._loop = asyncio.get_running_loop()
        ours.setblocking(False)
        self.place = Place(self.gate, ours, self._loop.time())

    def unused(self, after_s: float, *, stuck: bool = False) -> Unused | None:
        """Look at the place as it will be after some time in which nothing happens."""
        return self.place.unused(self._loop.time() + after_s, stuck=stuck)

    async def begin(self, data: bytes = LINE) -> None:
        """Bring the place to the stage OPENING by these first bytes."""
        self.place.start()
        self.peer.sendall(data)
        await self.until(Stage.OPENING)

    async def open(self) -> None:
        await self.begin()
        self.socket.recv(4096)
        self.place.opened(self.transport)

    async def until(self, stage: Stage) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await eventually(lambda: self.place.stage is stage)

    async def close(self) -> None:
        self.place.drop()
        for task in self.gate.openings:
            task.cancel()
        await asyncio.gather(*self.gate.openings, return_exceptions=True)
        self.socket.close()
        self.peer.close()


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig(*socket.socketpair())
    yield made
    await made.close()


def tcp_pair(
    family: socket.AddressFamily = socket.AF_INET, host: str = "127.0.0.1"
) -> tuple[socket.socket, socket.socket]:
    """Return the accepted and the dialled end of a connection."""
    with socket.socket(family) as listening:
        listening.bind((host, 0))
        listening.listen()
        dialled = socket.create_connection(listening.getsockname()[:2])
        accepted, _ = listening.accept()
    return accepted, dialled


@pytest_asyncio.fixture
async def tcp_rig() -> AsyncIterator[Rig]:
    if not sys.platform.startswith("linux"):
        pytest.skip("the kernel's tcp_info")
    made = Rig(*tcp_pair())
    yield made
    await made.close()


# --- the first bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(1, len(LINE)))
async def test_first_bytes_stay_in_the_socket_until_they_are_whole(tcp_rig: Rig, cut: int) -> None:
    tcp_rig.place.start()
    tcp_rig.peer.sendall(LINE[:cut])
    await tcp_rig.until(Stage.PARTIAL)
    assert tcp_rig.gate.openings == []
    tcp_rig.peer.sendall(LINE[cut:])
    await tcp_rig.until(Stage.OPENING)
    assert len(tcp_rig.gate.openings) == 1
    assert tcp_rig.socket.recv(4096) == LINE


@pytest.mark.parametrize("start", [b"", b"a part"])
async def test_a_peer_that_ends_early_is_left_to_the_protocol(tcp_rig: Rig, start: bytes) -> None:
    tcp_rig.place.start()
    if start:
        tcp_rig.peer.sendall(start)
        await tcp_rig.until(Stage.PARTIAL)
    tcp_rig.peer.shutdown(socket.SHUT_WR)
    await tcp_rig.until(Stage.OPENING)
    assert tcp_rig.socket.recv(4096) == start
    assert tcp_rig.socket.recv(4096) == b""


async def test_a_peer_that_resets_the_connection_gives_its_place_back(tcp_rig: Rig) -> None:
    tcp_rig.place.start()
    tcp_rig.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    tcp_rig.peer.close()
    await tcp_rig.until(Stage.GONE)
    assert (tcp_rig.gate.left_as, tcp_rig.gate.openings) == ([False], [])
    assert tcp_rig.socket.fileno() < 0


async def test_a_late_loop_does_not_cost_a_peer_its_place(tcp_rig: Rig) -> None:
    """The rest of its first bytes has come, and the loop has not read it yet."""
    tcp_rig.place.start()
    tcp_rig.peer.sendall(LINE[:3])
    await tcp_rig.until(Stage.PARTIAL)
    tcp_rig.peer.sendall(LINE[3:])
    assert tcp_rig.unused(3600) is None
    assert tcp_rig.place.stage is Stage.OPENING


# --- room for others ----------------------------------------------------------------------------------


async def test_a_silent_peer_has_a_time(rig: Rig) -> None:
    rig.place.start()
    assert rig.unused(PLACE_SILENT_S - 0.5) is None
    unused = rig.unused(PLACE_SILENT_S + 1)
    assert unused is not None
    assert unused.certain
    assert PLACE_SILENT_S + 1 <= unused.seconds < PLACE_SILENT_S + 1 + PATIENCE_S


async def test_a_part_of_the_first_bytes_has_a_shorter_time(tcp_rig: Rig) -> None:
    tcp_rig.place.start()
    tcp_rig.peer.sendall(LINE[:3])
    await tcp_rig.until(Stage.PARTIAL)
    assert PLACE_PARTIAL_S < PLACE_SILENT_S
    unused = tcp_rig.unused(PLACE_PARTIAL_S)
    assert unused is not None
    assert unused.certain
    assert unused.seconds >= PLACE_PARTIAL_S


async def test_a_connection_in_use_makes_room_only_while_no_peer_gets_through(rig: Rig) -> None:
    await rig.begin()
    rig.socket.recv(4096)
    steps: list[Callable[[], None]] = [
        lambda: None,
        lambda: rig.place.opened(rig.transport),
        rig.place.answering,
        rig.place.handed_over,
    ]
    for step, stage in zip(steps, (Stage.OPENING, Stage.OPEN, Stage.ANSWERING, Stage.OPEN), strict=True):
        step()
        assert rig.place.stage is stage
        assert rig.unused(3600) is None
        unused = rig.unused(3600, stuck=True)
        assert unused is not None
        assert not unused.certain
        assert rig.unused(0, stuck=True) is None


async def test_data_in_the_socket_is_a_sign_of_life_unless_it_is_not_read_on_purpose(rig: Rig) -> None:
    await rig.open()
    rig.peer.sendall(b"more")
    assert rig.unused(3600, stuck=True) is None
    rig.place.paused(True)
    assert rig.unused(3600, stuck=True) is not None
    rig.place.paused(False)
    assert rig.unused(3600, stuck=True) is None


async def test_a_peer_that_has_its_last_answer_has_a_time_whatever_it_sends(rig: Rig) -> None:
    await rig.open()
    rig.place.ending()
    rig.peer.sendall(b"more")
    rig.place.heard()
    rig.place.answering()
    assert rig.place.stage is Stage.ENDING
    unused = rig.unused(PLACE_SILENT_S)
    assert unused is not None
    assert unused.certain
    assert rig.unused(0) is None


async def test_bytes_that_complete_nothing_are_no_use_of_a_place(tcp_rig: Rig) -> None:
    """A peer that sends a byte now and then keeps no place, though it is never silent."""
    await tcp_rig.open()
    assert tcp_rig.unused(3600) is None  # it has sent nothing since
    tcp_rig.peer.sendall(b"x")
    assert await _received(tcp_rig) == b"x"
    unused = tcp_rig.unused(3600)
    assert unused is not None
    assert unused.certain
    tcp_rig.place.paused(True)
    assert tcp_rig.unused(3600) is None  # it is not read
    tcp_rig.place.paused(False)
    tcp_rig.place.handed_over()  # the next step: these bytes were its
    assert tcp_rig.unused(3600) is None


async def test_a_body_may_take_as_long_as_its_rate_allows(tcp_rig: Rig) -> None:
    await tcp_rig.open()
    tcp_rig.place.answering()
    loop = asyncio.get_running_loop()
    tcp_rig.peer.setblocking(False)
    left = 60 * PLACE_UPLOAD_RATE
    sending = asyncio.create_task(loop.sock_sendall(tcp_rig.peer, bytes(left)))
    while left:
        left -= len(await _received(tcp_rig))
    await sending
    assert tcp_rig.unused(PLACE_DRIP_S) is None
    assert tcp_rig.unused(3600) is not None


async def _received(rig: Rig) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.get_running_loop().sock_recv(rig.socket, 65536)


# --- the end ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
async def test_a_place_is_given_back_once(rig: Rig, known: bool) -> None:
    await rig.open()
    rig.place.leave(known=known)
    rig.place.leave()
    rig.place.drop()
    assert rig.gate.left_as == [known]
    for report in (rig.place.heard, rig.place.answering, rig.place.handed_over, rig.place.restart, rig.place.ending):
        report()  # a protocol may report steps just after a drop
    assert rig.place.stage is Stage.GONE
    assert rig.gate.left_as == [known]


async def test_a_drop_closes_a_socket_that_has_no_transport_yet(rig: Rig) -> None:
    rig.place.start()
    rig.place.drop()
    assert rig.socket.fileno() < 0
    assert rig.peer.recv(1) == b""


async def test_a_drop_while_the_connection_opens_cancels_that(rig: Rig) -> None:
    await rig.begin()
    rig.place.drop()
    await asyncio.wait(rig.gate.openings)
    assert rig.gate.openings[0].cancelled()
    rig.place.opened(rig.transport)  # the transport was made just then
    assert rig.transport.aborted == 1


async def test_a_drop_of_an_open_connection_aborts_its_transport(rig: Rig) -> None:
    await rig.open()
    rig.place.drop()
    rig.place.drop()
    assert rig.gate.left_as == [False]
    assert rig.transport.aborted >= 1


async def test_the_time_limit_begins_anew_with_each_request(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.open()
    expired = asyncio.Event()
    rig.place.expires_with(expired.set)
    monkeypatch.setattr(placing, "HANDSHAKE_TIMEOUT_S", 0.01)
    rig.place.restart()
    async with asyncio.timeout(PATIENCE_S):
        await expired.wait()
    assert rig.place.stage is Stage.OPEN  # ``expire`` ends the connection, or answers first
    rig.place.leave()
    rig.place.restart()


@pytest.mark.parametrize(
    ("family", "host", "text"), [(socket.AF_INET, "127.0.0.1", "127.0.0.1:"), (socket.AF_INET6, "::1", "[::1]:")]
)
async def test_a_connection_that_makes_room_is_logged(
    family: socket.AddressFamily, host: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        pair = tcp_pair(family, host)
    except OSError:
        pytest.skip("no IPv6 here")
    rig = Rig(*pair)
    peer = f"{text}{pair[1].getsockname()[1]}"
    assert address_of(rig.socket) == peer
    rig.place.make_room()
    assert f"{peer}: connection refused: 7 unauthenticated connections are open" in caplog.text
    assert address_of(rig.socket) == "a peer that is gone"
    await rig.close()


async def test_a_place_says_whether_places_are_scarce(rig: Rig) -> None:
    found: list[Any] = [rig.place.is_scarce]
    rig.gate.is_scarce = True
    assert [*found, rig.place.is_scarce] == [False, True]
