"""What is sent in one iteration of the loop is written at once, in order."""

from __future__ import annotations

import asyncio
from typing import Any

from pagent.buffers import JOIN_MAX, Bytes
from pagent.limits import LINK_HIGH_WATER
from pagent.net.link.batch import WriteBatch
from pagent.runtime.deferred import current_deferred

LARGE = bytes(JOIN_MAX + 1)


class Written:
    """What a batch has written, by writes."""

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
    batch = WriteBatch(written)
    for data in (b"a", b"b", b"c"):
        batch.put(data)
    assert written.writes == []
    await turn()
    batch.put(b"d")
    await turn()
    await turn()
    assert written.writes == [[b"a", b"b", b"c"], [b"d"]]
    assert written.large == [False, False]


async def test_what_is_large_is_said_to_be() -> None:
    written = Written()
    batch = WriteBatch(written)
    batch.put(b"a")
    batch.put_with_heads((b"b", b"c"), LARGE)
    await turn()
    batch.put(b"d")
    await turn()
    assert written.writes == [[b"a", b"b", b"c", LARGE], [b"d"]]
    assert written.large == [True, False]


async def test_much_is_not_kept_until_the_end_of_the_turn() -> None:
    written = Written()
    batch = WriteBatch(written)
    half = bytes(LINK_HIGH_WATER // 2 + 1)
    batch.put(half)
    assert written.writes == []
    batch.put(half)
    assert written.writes == [[half, half]]
    batch.put(b"a")
    assert written.writes == [[half, half]]
    await turn()
    assert written.writes == [[half, half], [b"a"]]


async def test_it_can_be_written_before() -> None:
    written = Written()
    batch = WriteBatch(written)
    batch.put(b"a")
    batch.flush()
    batch.flush()
    assert written.writes == [[b"a"]]
    await turn()
    assert written.writes == [[b"a"]]


async def test_a_batch_whose_write_fails_is_no_obstacle_to_the_next() -> None:
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
    written = Written()
    failing = [OSError("no")]

    def write(buffers: list[Bytes], large: bool) -> None:
        if failing:
            raise failing.pop()
        written(buffers, large)

    batch = WriteBatch(write)
    batch.put(b"lost")
    await turn()
    batch.put(b"a")
    await turn()
    assert written.writes == [[b"a"]]
    assert len(failed) == 1


async def test_a_deferred_action_that_raises_leaves_the_batch_to_be_written() -> None:
    failed: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: failed.append(context))
    written = Written()
    batch = WriteBatch(written)

    def act() -> None:
        batch.put(b"a")
        raise RuntimeError("no")

    loop.call_soon(act)
    current_deferred().defer(act, 0)
    await turn()
    await turn()
    assert b"".join(b"".join(write) for write in written.writes) == b"aa"
    assert len(failed) == 2
