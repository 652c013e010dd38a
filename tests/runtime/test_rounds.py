"""Batches of many coroutines, one in each loop iteration."""

from __future__ import annotations

import asyncio

from pagent.runtime.rounds import Rounds


async def test_one_batch_in_each_loop_iteration() -> None:
    rounds = Rounds()
    iteration = 0
    batches: list[int] = []

    def count() -> None:
        nonlocal iteration
        iteration += 1
        if len(batches) < 30:
            asyncio.get_running_loop().call_soon(count)

    async def work() -> None:
        for _ in range(3):
            await rounds.next()
            batches.append(iteration)

    count()
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(work())
    assert len(batches) == 30
    assert len(set(batches)) == 30


async def test_all_get_on_when_one_is_cancelled() -> None:
    rounds = Rounds()
    waiting = [asyncio.create_task(rounds.next()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    async with asyncio.timeout(10):
        await waiting[2]
        await rounds.next()
