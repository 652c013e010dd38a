from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pagent.jobs.sandbox import Sandbox
from pagent.runtime.threads import ThreadPool, Threads


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    made = Sandbox.create(tmp_path, "job")
    yield made
    made.remove()


@pytest.fixture
async def threads() -> AsyncIterator[ThreadPool]:
    """One thread, the default of `jobs.background_threads`: whatever occupies it holds up all of a job's work."""
    made = ThreadPool("disk", 1)
    yield made
    await made.close(10)


class CancelAt:
    """Hands pieces on to a pool, and has the task that handed in the n-th one cancelled right after it."""

    def __init__(self, threads: ThreadPool, count: int) -> None:
        self._threads = threads
        self._left = count

    async def run(self, function: Callable[..., Any], *args: Any, limit_s: float | None = None) -> Any:
        return await self.submit(function, *args, limit_s=limit_s)

    def submit(
        self, function: Callable[..., Any], *args: Any, limit_s: float | None = None, always: bool = False
    ) -> asyncio.Future[Any]:
        self._left -= 1
        if self._left == 0:
            task = asyncio.current_task()
            assert task is not None
            task.get_loop().call_soon(task.cancel)
        return self._threads.submit(function, *args, limit_s=limit_s, always=always)


@pytest.fixture
def cancelled_everywhere(threads: ThreadPool) -> Callable[..., AsyncIterator[asyncio.Task[Any]]]:
    """Runs ``work(threads)`` again and again, cancelled at its first piece, its second, ... until it is done."""

    async def run(work: Callable[[Threads], Coroutine[Any, Any, Any]]) -> AsyncIterator[asyncio.Task[Any]]:
        for count in range(1, 1000):
            task = asyncio.ensure_future(work(CancelAt(threads, count)))
            await asyncio.wait([task])
            await threads.run(int)  # what was begun before has ended
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
