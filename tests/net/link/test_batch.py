"""The data of one loop iteration is written at once, in order."""

from __future__ import annotations

import asyncio
from typing import Any

from pagent.buffers import JOIN_MAX, Bytes
from pagent.limits import LINK_HIGH_WATER
from pagent.net.link.batch import WriteBatch
from pagent.runtime.deferred import current_deferred
from tests.kit.short_loop import ShortLoop, fail_for_memory

LARGE = bytes(JOIN_MAX + 1)


class Written:
    """The writes of a batch."""

    def __init__(self) -> None:
        self.writes: list[list[bytes]] = []
        self.large: list[bool] = []

    def __call__(self, out: list[Bytes], large: bool) -> None:
        self.writes.append([bytes(data) for data in out])
        self.large.append(large)


async def iteration() -> None:
    await asyncio.sleep(0)


async def test_a_loop_iteration_is_one_write() -> None:
    written = Written()
    batch = WriteBatch(written)
    for data in (b"a", b"b", b"c"):
        batch.put(data)
    assert written.writes == []
    await iteration()
    batch.put(b"d")
    await iteration()
    await iteration()
    assert written.writes == [[b"a", b"b", b"c"], [b"d"]]
    assert written.large == [False, False]


async def test_large_data_is_announced() -> None:
    written = Written()
    batch = WriteBatch(written)
    batch.put(b"a")
    batch.put_with_head(b"b", LARGE)
    await iteration()
    batch.put(b"d")
    await iteration()
    assert written.writes == [[b"a", b"b", LARGE], [b"d"]]
    assert written.large == [True, False]


async def test_a_batch_above_the_high_water_mark_is_written_at_once() -> None:
    written = Written()
    batch = WriteBatch(written)
    half = bytes(LINK_HIGH_WATER // 2 + 1)
    batch.put(half)
    assert written.writes == []
    batch.put(half)
    assert written.writes == [[half, half]]
    batch.put(b"a")
    assert written.writes == [[half, half]]
    await iteration()
    assert written.writes == [[half, half], [b"a"]]


async def test_flush_writes_at_once() -> None:
    written = Written()
    batch = WriteBatch(written)
    batch.put(b"a")
    batch.flush()
    batch.flush()
    assert written.writes == [[b"a"]]
    await iteration()
    assert written.writes == [[b"a"]]


async def test_a_failed_write_does_not_stop_the_next_batch() -> None:
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
    await iteration()
    batch.put(b"a")
    await iteration()
    assert written.writes == [[b"a"]]
    assert len(failed) == 1


async def test_a_batch_is_written_although_a_deferred_action_raises() -> None:
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
    await iteration()
    await iteration()
    assert b"".join(b"".join(write) for write in written.writes) == b"aa"
    assert len(failed) == 2


def test_a_batch_is_written_after_a_moment_without_memory() -> None:
    written = Written()

    async def use() -> None:
        batch = WriteBatch(written)
        fail_for_memory(lambda: batch.put(b"a"))
        batch.put(b"b")
        await iteration()

    with asyncio.Runner(loop_factory=ShortLoop) as runner:
        runner.run(use())
    assert written.writes == [[b"a", b"b"]]
