"""The receiving side of a link: the same messages for every way in which the bytes arrive, and its bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagent.buffers import Bytes
from pagent.errors import LinkClosedError, ProtocolError
from pagent.limits import HANDSHAKE_MAX
from pagent.net.link.buffer_pool import RECEIVE_BUFFER
from pagent.net.link.read_gate import ReadGate
from pagent.net.link.receiving import LinkReceiver
from pagent.net.port.writing import PortWriter
from pagent.wire import frames
from pagent.wire.frames import VIEW_LEAST
from tests.net.port.test_writing import RecordingTransport


class Rig:
    """A receiver whose messages are kept as copies."""

    def __init__(self, *, accept: bool = True) -> None:
        self.messages: list[Any] = []
        self.faults: list[ProtocolError] = []
        self.receiver = LinkReceiver(self, ReadGate(), self._control, self._fail, masked=True)
        self.receiver.delivers = True
        if accept:
            self.receiver.accept()

    def _control(self, opcode: int, payload: Any) -> None:
        self.messages.append((opcode, payload if isinstance(payload, tuple) else bytes(payload)))

    def _fail(self, error: ProtocolError) -> None:
        self.faults.append(error)
        self.receiver.discards = True

    def receive(self, data: bytes) -> None:
        while data:
            space = self.receiver.space()
            taken = min(len(space), len(data))
            space[:taken] = data[:taken]
            self.receiver.received(taken)
            data = data[taken:]

    def link_message(self, payload: Bytes) -> None:
        self.messages.append(bytes(payload))

    def link_blocked(self) -> None:
        pass

    def link_writable(self) -> None:
        pass

    def link_lost(self, error: LinkClosedError) -> None:
        pass


def frame(payload: bytes, opcode: int = frames.BINARY) -> bytes:
    return frames.masked_frame(opcode, payload)


SIZES = (0, 1, 125, 126, VIEW_LEAST - 1, VIEW_LEAST, 3 * VIEW_LEAST)


@settings(max_examples=30)
@given(st.lists(st.sampled_from(SIZES), max_size=5), st.lists(st.integers(1, 40_000), min_size=1, max_size=20))
def test_every_split_gives_the_same_messages(sizes: list[int], pieces: list[int]) -> None:
    async def run() -> None:
        rig = Rig()
        expected: list[Any] = [bytes([number]) * size for number, size in enumerate(sizes)]
        data = b"".join(frame(payload) for payload in expected) + frame(b"ping", frames.PING)
        at = number = 0
        while at < len(data):
            step = pieces[number % len(pieces)]
            rig.receive(data[at : at + step])
            at, number = at + step, number + 1
        while rig.receiver.pending:  # noqa: ASYNC110 - until the next iteration
            await asyncio.sleep(0)
        assert rig.messages == [*expected, (frames.PING, b"ping")]
        assert rig.receiver.received_bytes == len(data)

    asyncio.run(run())


class WritingRig(Rig):
    """A receiver whose messages are written to a connection, each twice."""

    def __init__(self) -> None:
        super().__init__()
        self.writer, self.transport = PortWriter(), RecordingTransport()
        self.writer.open(self.transport)

    def link_message(self, payload: Bytes) -> None:
        self.writer.write(payload)
        self.writer.write(payload)


async def test_what_a_large_read_sends_is_written_once_when_the_read_ends() -> None:
    rig = WritingRig()
    message = bytes(3 * VIEW_LEAST)
    for count in (1, 2):
        rig.receive(frame(message))
        assert (rig.transport.writes, len(rig.transport.out)) == (count, 2 * count * len(message))


async def test_what_a_read_that_leaves_more_sends_is_written_when_the_iteration_ends() -> None:
    rig = WritingRig()
    data = frame(bytes(RECEIVE_BUFFER // 4)) + frame(bytes(RECEIVE_BUFFER))
    rig.receive(data[:RECEIVE_BUFFER])
    assert rig.transport.writes == 0
    await asyncio.sleep(0)
    assert rig.transport.writes == 1


async def test_a_long_message_of_an_unauthenticated_peer_is_a_fault() -> None:
    rig = Rig(accept=False)
    rig.receive(frame(bytes(HANDSHAKE_MAX + 1))[:100])
    assert [error.code for error in rig.faults] == [1009]


async def test_a_fault_after_messages_comes_after_them() -> None:
    rig = Rig()
    rig.receive(frame(b"one") + frame(b"two") + b"\xff\xff")
    assert rig.messages == [b"one", b"two"]
    assert [error.code for error in rig.faults] == [1002]


@pytest.mark.parametrize("way", ["discards", "close"])
async def test_input_is_discarded(way: str) -> None:
    rig = Rig()
    if way == "close":
        rig.receiver.close()
    else:
        rig.receiver.discards = True
        rig.receive(frame(b"dropped"))
    assert rig.messages == []
    assert not rig.receiver.pending


async def test_messages_are_not_delivered_while_the_link_closes() -> None:
    rig = Rig()
    rig.receiver.delivers = False
    rig.receive(frame(b"dropped") + frame(frames.close_payload(1000, ""), frames.CLOSE))
    assert rig.messages == [(frames.CLOSE, (1000, ""))]
