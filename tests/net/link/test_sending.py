"""The sending side of a link: its frames, its water marks, and a peer that does not read its answers."""

from __future__ import annotations

import asyncio

import pytest

from pagent.buffers import JOIN_MAX, Bytes
from pagent.errors import LinkClosedError
from pagent.limits import ANSWERS_MAX, HANDSHAKE_MAX, LINK_HIGH_WATER
from pagent.net.link.read_gate import ReadGate
from pagent.net.link.sending import LinkSender
from pagent.wire import frames


class RecordingTransport(asyncio.Transport):
    """A transport that keeps the written bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.out = bytearray()
        self.writes = 0
        self.limits: tuple[int | None, int | None] = (None, None)

    def write(self, data: Bytes) -> None:
        self.out += data
        self.writes += 1

    def writelines(self, parts: list[Bytes]) -> None:
        self.write(b"".join(parts))

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return len(self.out)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Rig:
    """A sender on a transport in memory."""

    def __init__(self, *, masks: bool = False, accept: bool = True) -> None:
        self.events: list[str] = []
        self.reading = ReadGate()
        self.transport = RecordingTransport()
        self.reading.open(self.transport, "127.0.0.1:1")
        self.sender = LinkSender(self, self.reading, masks=masks)
        self.sender.open(self.transport)
        self.sender.live = True
        if accept:
            self.sender.accept()

    def link_message(self, payload: Bytes) -> None:
        pass

    def link_blocked(self) -> None:
        self.events.append("blocked")

    def link_writable(self) -> None:
        self.events.append("writable")

    def link_lost(self, error: LinkClosedError) -> None:
        pass


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("size", [0, 1, 126, JOIN_MAX, JOIN_MAX + 1, 70_000])
async def test_a_decoder_gets_the_messages_in_order(masks: bool, size: int) -> None:
    rig = Rig(masks=masks)
    rig.sender.send(b"first")
    rig.sender.send_parts(1, b"head", bytes(size))
    rig.sender.control(frames.PING, b"mark")
    assert rig.transport.writes == 0
    await asyncio.sleep(0)
    assert rig.transport.writes == 1
    found = frames.FrameDecoder(masked=masks, max_message=1 << 20).feed(bytes(rig.transport.out))
    assert [(opcode, bytes(payload)) for opcode, payload in found] == [
        (frames.BINARY, b"first"),
        (frames.BINARY, b"head" + bytes(size)),
        (frames.PING, b"mark"),
    ]


async def test_the_owner_is_notified_of_the_water_marks() -> None:
    rig = Rig()
    assert rig.transport.limits[0] == LINK_HIGH_WATER
    rig.sender.pause()
    assert rig.sender.blocked
    rig.sender.resume()
    assert not rig.sender.blocked
    rig.sender.live = False
    rig.sender.resume()
    assert rig.events == ["blocked", "writable"]


async def test_a_peer_that_does_not_read_its_answers_is_not_read() -> None:
    rig = Rig()
    rig.transport.out += bytes(ANSWERS_MAX)
    rig.sender.pause()
    assert rig.reading.owners == frozenset()
    rig.sender.send(b"an answer")
    rig.sender.flush()
    assert rig.reading.owners == {"unread answers"}
    rig.sender.resume()
    assert rig.reading.owners == frozenset()


async def test_an_unauthenticated_peer_that_does_not_read_is_not_read_at_once() -> None:
    rig = Rig(accept=False)
    assert rig.transport.limits == (HANDSHAKE_MAX // 2, 0)
    rig.transport.out += b"x"
    rig.sender.pause()
    assert rig.reading.owners == {"unread answers"}
