"""A job's WebSocket and the stream of a call: hostile and hasty jobs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.handshake import H11Handshake

from pagent.limits import FRAMES_AT_ONCE, PINGS_KEPT
from pagent.splice.jobport import IdleConnections, JobPort
from pagent.splice.pool import Pool
from pagent.splice.websocket import TRANSITIONS, WebSocketSplice, WebSocketState
from pagent.wire import frames
from pagent.wire.upgrade import ClientUpgrade
from tests.kit.ends import MemoryStream
from tests.kit.peer import PATIENCE_S


def job_pool(listener: socket.socket) -> Pool:
    return Pool(JobPort(listener.getsockname()[1], IdleConnections(0)))


class Call:
    """A call; ``outcome`` is its result or its error."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def run(self, work: Any, *, returns: bool = False) -> None:
        raise AssertionError("a WebSocket runs nothing by itself")

    def finish(self, value: Any = None) -> None:
        self.outcome.set_result(value)

    def fail(self, error: BaseException) -> None:
        self.outcome.set_result(error)


class SignallingStream(MemoryStream):
    """``more`` is set by each message."""

    def __init__(self) -> None:
        super().__init__()
        self.more = asyncio.Event()

    def send(self, value: Any) -> None:
        super().send(value)
        self.more.set()


def _switched(head: bytes) -> bytes:
    """The 101 for an upgrade request (RFC 6455 section 4.2.2)."""
    handshake = H11Handshake(ConnectionType.SERVER)
    handshake.receive_data(head)
    return handshake.send(AcceptConnection())


class Rig:
    """A splice whose job is a socket of the test's."""

    def __init__(self, listener: socket.socket) -> None:
        self.call = Call()
        self.stream = SignallingStream()
        upgrade = ClientUpgrade("job.example", "/")
        self.splice = WebSocketSplice(self.call, self.stream, upgrade, detailed=True, max_message=1 << 20)
        self._listener = listener
        self._loop = asyncio.get_running_loop()

    async def answered(self, frames_after: bytes = b"", *, closed_before: bool = False) -> socket.socket:
        """Return the job's socket, with its 101 sent and ``frames_after`` it."""
        connecting = asyncio.ensure_future(self.splice.connect(job_pool(self._listener)))
        job, _ = await self._loop.run_in_executor(None, self._listener.accept)
        job.setblocking(False)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self._loop.sock_recv(job, 65_536)
        if closed_before:
            self.stream.attach = self._attach_closed  # type: ignore[method-assign]
        await self._loop.sock_sendall(job, _switched(head) + frames_after)
        async with asyncio.timeout(PATIENCE_S):
            await connecting
        return job

    def _attach_closed(self, receiver: Any) -> None:
        self.stream.receiver = receiver
        receiver.stream_closed()

    async def outcome(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await self.call.outcome

    async def sent(self, count: int) -> list[Any]:
        """Return the messages of the stream after the answer, once ``count`` have come."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.stream.sent) <= count:
                self.stream.more.clear()
                await self.stream.more.wait()
        return self.stream.sent[1:]


class Longest:
    """How many frames were dealt with in one turn of the loop, at most."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream
        self._seen = len(stream.sent)
        self.frames = 0
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self.frames = max(self.frames, len(self._stream.sent) - self._seen)
        self._seen = len(self._stream.sent)
        self._loop.call_soon(self._turn)


@pytest.fixture
async def rig(listener: socket.socket) -> Rig:
    return Rig(listener)


async def test_a_flood_of_messages_leaves_others_their_turns(rig: Rig) -> None:
    with await rig.answered() as job:
        longest = Longest(rig.stream)
        count = 20 * FRAMES_AT_ONCE
        whole = b"".join(frames.frame_header(frames.TEXT, 6) + b"%06d" % number for number in range(count))
        await asyncio.get_running_loop().sock_sendall(job, whole)
        assert await rig.sent(count) == [f"{number:06}" for number in range(count)]
        assert longest.frames <= 2 * FRAMES_AT_ONCE  # the rest of earlier data, and the data of one read
    assert await rig.outcome() == {"code": 1006, "reason": ""}


def pings(numbers: Iterable[int], filler: bytes = b"") -> bytes:
    header = frames.frame_header(frames.PING, 6 + len(filler))
    return b"".join(header + b"%06d" % number + filler for number in numbers)


async def pongs_until(job: socket.socket, last: int) -> list[int]:
    """The numbers of all pings that are answered, up to the last one."""
    decoder = frames.FrameDecoder(masked=True, max_message=1000)
    loop = asyncio.get_running_loop()
    found: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        while last not in found:
            messages = decoder.feed(await loop.sock_recv(job, 65_536))
            while decoder.more:
                messages += decoder.feed(b"")
            found += [int(bytes(payload)[:6]) for _, payload in messages]
    return found


@pytest.mark.parametrize("piece", [1, 7, 1000])
async def test_each_of_several_pings_in_one_read_is_answered(rig: Rig, piece: int) -> None:
    with await rig.answered() as job:
        loop = asyncio.get_running_loop()
        data = pings(range(10))
        for at in range(0, len(data), piece):
            await loop.sock_sendall(job, data[at : at + piece])
        assert await pongs_until(job, 9) == list(range(10))


async def test_pings_of_a_job_that_does_not_read_are_answered_with_the_latest(rig: Rig) -> None:
    count = 80_000
    with await rig.answered() as job:
        await asyncio.get_running_loop().sock_sendall(job, pings(range(count), bytes(119)))
        found = await pongs_until(job, count - 1)
    assert found == sorted(found)
    assert PINGS_KEPT <= len(found) < count
    assert found[-PINGS_KEPT:] == list(range(count - PINGS_KEPT, count))


async def test_the_last_ping_is_answered(rig: Rig) -> None:
    with await rig.answered() as job:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(job, frames.frame_header(frames.PING, 5) + b"first")
        ping = frames.frame_header(frames.PING, 4)
        await loop.sock_sendall(job, ping + b"next" + ping + b"last")
        decoder = frames.FrameDecoder(masked=True, max_message=1000)
        pongs: list[bytes] = []
        async with asyncio.timeout(PATIENCE_S):
            while b"last" not in pongs:
                pongs += [bytes(payload) for _, payload in decoder.feed(await loop.sock_recv(job, 65_536))]
    assert pongs[-1] == b"last"


async def test_what_came_before_an_end_is_passed_on(rig: Rig) -> None:
    count = 10 * FRAMES_AT_ONCE
    with await rig.answered() as job:
        await asyncio.get_running_loop().sock_sendall(job, (frames.frame_header(frames.BINARY, 1) + b"x") * count)
    assert await rig.outcome() == {"code": 1006, "reason": ""}
    assert rig.stream.sent[1:] == [b"x"] * count


async def test_a_reader_that_is_slow_in_the_middle_of_a_flood(rig: Rig) -> None:
    with await rig.answered() as job:
        count = 10 * FRAMES_AT_ONCE
        await asyncio.get_running_loop().sock_sendall(job, (frames.frame_header(frames.BINARY, 1) + b"x") * count)
        await rig.sent(1)
        rig.stream.block()
        rig.stream.unblock()
        rig.stream.block()
        await asyncio.sleep(0)
        rig.stream.unblock()
        await rig.sent(count)
        await asyncio.get_running_loop().sock_sendall(job, frames.frame_header(frames.BINARY, 3) + b"end")
        assert await rig.sent(count + 1) == [b"x"] * count + [b"end"]


async def test_a_close_after_the_answer_to_a_caller_that_has_closed_before(rig: Rig) -> None:
    close = frames.frame_header(frames.CLOSE, 2) + (4001).to_bytes(2, "big")
    with await rig.answered(close, closed_before=True):
        assert await rig.outcome() == {"code": 4001, "reason": ""}


async def test_half_a_frame_after_the_answer_to_a_caller_that_has_closed_before(rig: Rig) -> None:
    message = frames.frame_header(frames.BINARY, 4) + b"abcd"
    with await rig.answered(message[:3], closed_before=True) as job:
        close = frames.frame_header(frames.CLOSE, 2) + (1000).to_bytes(2, "big")
        await asyncio.get_running_loop().sock_sendall(job, message[3:] + close)
        assert await rig.outcome() == {"code": 1000, "reason": ""}


async def test_a_job_that_ends_the_connection_before_it_is_used(rig: Rig, listener: socket.socket) -> None:
    connecting = asyncio.ensure_future(rig.splice.connect(job_pool(listener)))
    await asyncio.sleep(0)
    rig.splice.port_eof()  # on a busy loop it comes before the task that waits for the connection continues
    async with asyncio.timeout(PATIENCE_S):
        await connecting
        assert isinstance(await rig.outcome(), ConnectionResetError)
        assert rig.stream.sent == [False]
        job, _ = listener.accept()
        with job:
            job.setblocking(False)
            with suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(job, 100) == b""


def test_the_table_has_every_state_and_leads_to_the_end() -> None:
    assert set(TRANSITIONS) == set(WebSocketState)
    assert TRANSITIONS[WebSocketState.ENDED] == frozenset()
    assert all(WebSocketState.ENDED in TRANSITIONS[state] for state in set(WebSocketState) - {WebSocketState.ENDED})
    reached = {after for afters in TRANSITIONS.values() for after in afters}
    assert reached == set(WebSocketState) - {WebSocketState.UPGRADING}


async def test_the_states_of_a_websocket_that_the_caller_closes(rig: Rig) -> None:
    assert rig.splice.state is WebSocketState.UPGRADING
    job = await rig.answered()
    assert rig.splice.state is WebSocketState.OPEN
    rig.splice.stream_closed()
    assert rig.splice.state is WebSocketState.CLOSING
    rig.splice.port_eof()
    assert rig.splice.state is WebSocketState.ENDED
    job.close()
