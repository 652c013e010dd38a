"""Deferred work: it takes turns, within a bound for each iteration of the loop."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from pagent.runtime.deferred import ITERATION_WORK, DeferredWork, current_deferred


async def test_one_for_a_loop() -> None:
    assert current_deferred() is current_deferred()


async def test_what_was_left_has_its_turns_one_after_the_other() -> None:
    deferred = DeferredWork()
    done: list[str] = []

    def work(name: str, times: int) -> None:
        done.append(name)
        if times > 1:
            deferred.defer(partial(work, name, times - 1), ITERATION_WORK // 2)

    for name in "abc":
        deferred.defer(partial(work, name, 3), ITERATION_WORK)
    assert done == []
    rounds = []
    while len(done) < 9:
        await asyncio.sleep(0)
        rounds.append("".join(done))
    # An iteration has time for two. The third is the first one of the next iteration.
    assert rounds == ["ab", "abca", "abcabc", "abcabcabc"]


async def test_work_that_fails_stops_no_other() -> None:
    deferred = DeferredWork()
    done: list[str] = []
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
    deferred.defer(partial(int, "x"), 0)
    deferred.defer(partial(done.append, "other"), 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done == ["other"]
    assert [type(context["exception"]) for context in failed] == [ValueError]
