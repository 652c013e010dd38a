"""What is sent in one turn is written at once, in its order."""

from __future__ import annotations

import asyncio

from pagent.buffers import Bytes
from pagent.limits import JOIN_MAX, LINK_HIGH_WATER
from pagent.net.outbox import Outbox
from pagent.net.turns import current_turns

LARGE = bytes(JOIN_MAX + 1)


class Written:
    """What an outbox has written, by writes."""

    def __init__(self) -> None:
        self.writes: list[list[bytes]] = []
        self.large: list[bool] = []

    def __call__(self, out: list[Bytes], large: bool) -> None:
        self.writes.append([bytes(data) for data in out])
        self.large.append(large)


async def turn() -> None:
    await asyncio.sleep(0)


async def test_a_turn_is_one_write() -> None:
    written = Written()
    outbox = Outbox(written)
    for data in (b"a", b"b", b"c"):
        outbox.put(data)
    assert written.writes == []
    await turn()
    outbox.put(b"d")
    await turn()
    await turn()
    assert written.writes == [[b"a", b"b", b"c"], [b"d"]]
    assert written.large == [False, False]


async def test_what_is_large_is_said_to_be() -> None:
    written = Written()
    outbox = Outbox(written)
    outbox.put(b"a")
    outbox.put_behind((b"b", b"c"), LARGE)
    await turn()
    outbox.put(b"d")
    await turn()
    assert written.writes == [[b"a", b"b", b"c", LARGE], [b"d"]]
    assert written.large == [True, False]


async def test_much_is_not_kept_until_the_end_of_the_turn() -> None:
    written = Written()
    outbox = Outbox(written)
    half = bytes(LINK_HIGH_WATER // 2 + 1)
    outbox.put(half)
    assert written.writes == []
    outbox.put(half)
    assert written.writes == [[half, half]]
    outbox.put(b"a")
    assert written.writes == [[half, half]]
    await turn()
    assert written.writes == [[half, half], [b"a"]]


async def test_it_can_be_written_before() -> None:
    written = Written()
    outbox = Outbox(written)
    outbox.put(b"a")
    outbox.write_out()
    outbox.write_out()
    assert written.writes == [[b"a"]]
    await turn()
    assert written.writes == [[b"a"]]


async def test_where_one_port_alone_sends_it_is_written_when_it_is_done() -> None:
    written = Written()
    outbox = Outbox(written)
    turns = current_turns()

    def port_sends(data: bytes) -> int:
        turns.begin()
        outbox.put(data)
        turns.finish()
        return len(written.writes)

    for count in range(16):
        assert port_sends(b"kept") == count
        await turn()
    assert port_sends(b"at once") == 17
    outbox.put(b"another")
    await turn()
    assert port_sends(b"kept") == 18
