"""The owner of tasks: it ends them, and logs their failures."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pagent.runtime.tasks import TaskOwner, retrieve_error
from tests.kit.peer import PATIENCE_S


async def forever(ended: list[str], name: str = "") -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(name)


async def fail() -> None:
    raise ValueError("a failure of the test")


async def test_a_task_gives_its_result_and_is_forgotten() -> None:
    async def work() -> int:
        return 7

    owner = TaskOwner("the test")
    task = owner.start(work(), name="seven")
    assert len(owner) == 1
    assert task.get_name() == "seven"
    assert await task == 7
    assert len(owner) == 0
    await owner.close()


async def test_close_cancels_all_tasks_and_waits_for_their_end() -> None:
    ended: list[str] = []
    owner = TaskOwner("the test")
    tasks = [owner.start(forever(ended, name), name=name) for name in ("first", "second")]
    await asyncio.sleep(0)
    await owner.close()
    assert sorted(ended) == ["first", "second"]
    assert all(task.cancelled() for task in tasks)
    assert len(owner) == 0


async def test_a_closed_owner_starts_no_task() -> None:
    owner = TaskOwner("the test")
    await owner.close()
    ended: list[str] = []
    with pytest.raises(RuntimeError, match="the test is closed and starts no task late"):
        owner.start(forever(ended), name="late")
    assert ended == []


async def test_a_failure_is_logged_once_with_the_name_of_the_task(caplog: pytest.LogCaptureFixture) -> None:
    owner = TaskOwner("the test")
    task = owner.start(fail(), name="failing")
    with pytest.raises(ValueError, match="a failure of the test"):
        await task
    await owner.close()
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert record.getMessage() == "the test: task failing failed"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


async def test_a_cancelled_task_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    owner = TaskOwner("the test")
    task = owner.start(forever([]), name="cancelled")
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await owner.close()
    assert caplog.records == []


async def test_a_task_may_close_its_own_owner() -> None:
    owner = TaskOwner("the test")
    ended: list[str] = []
    owner.start(forever(ended, "other"), name="other")

    async def close() -> None:
        await asyncio.sleep(0)
        await owner.close()
        ended.append("closing")

    async with asyncio.timeout(PATIENCE_S):
        await owner.start(close(), name="closing")
    assert ended == ["other", "closing"]


async def test_close_waits_for_a_task_that_ends_slowly() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            ended.append("slow")

    owner = TaskOwner("the test")
    owner.start(slow(), name="slow")
    await asyncio.sleep(0)
    await owner.close()
    assert ended == ["slow"]


async def test_an_error_that_is_retrieved_is_not_logged_by_the_loop() -> None:
    contexts: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    failed: asyncio.Future[None] = loop.create_future()
    failed.add_done_callback(retrieve_error)
    failed.set_exception(ValueError("not awaited"))
    cancelled: asyncio.Future[None] = loop.create_future()
    cancelled.add_done_callback(retrieve_error)
    cancelled.cancel()
    await asyncio.sleep(0)
    del failed, cancelled
    assert contexts == []
