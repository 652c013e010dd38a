from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pagent.jobs.sandbox import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    made = Sandbox.create(tmp_path, "job")
    yield made
    made.remove()


@pytest.fixture
def executor() -> Iterator[Executor]:
    """One thread, the default of `jobs.background_threads`: whatever occupies it stops everybody."""
    with ThreadPoolExecutor(1) as made:
        yield made


class CancelAt(Executor):
    """Hands pieces on to a real executor, and has the task that handed in the n-th one cancelled right behind it."""

    def __init__(self, executor: Executor, count: int) -> None:
        self._executor = executor
        self._left = count

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._left -= 1
        if self._left == 0:
            task = asyncio.current_task()
            assert task is not None
            task.get_loop().call_soon(task.cancel)
        return self._executor.submit(fn, *args, **kwargs)


@pytest.fixture
def cancelled_everywhere(executor: Executor) -> Callable[..., AsyncIterator[asyncio.Task[Any]]]:
    """Runs ``work(executor)`` again and again, cancelled at its first piece, its second, ... until it is done."""

    async def run(work: Callable[[Executor], Coroutine[Any, Any, Any]]) -> AsyncIterator[asyncio.Task[Any]]:
        for count in range(1, 1000):
            task = asyncio.ensure_future(work(CancelAt(executor, count)))
            await asyncio.wait([task])
            await asyncio.get_running_loop().run_in_executor(executor, int)  # what was begun before has ended
            yield task
            if not task.cancelled():
                assert count > 2
                return

    return run


@pytest.fixture
def descriptors() -> Callable[[], int]:
    return lambda: len(os.listdir("/proc/self/fd"))


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox on a disk of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small file system")
    root = tmp_path / "small"
    root.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m,mode=0700 tmpfs {root} 2>/dev/null") != 0:
        pytest.skip("this place lets nobody mount")
    try:
        made = Sandbox.create(root, "job")
        yield made
        made.remove()
    finally:
        os.system(f"umount {root}")
