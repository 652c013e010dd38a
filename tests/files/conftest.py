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
def filled(sandbox: Sandbox) -> Path:
    """The folder of the sandbox, with files, a link, a pipe, and folders in each other."""
    root = sandbox.path
    (root / "b" / "c").mkdir(parents=True)
    (root / "b" / "c" / "f").write_text("123")
    (root / "b.txt").write_text("x")
    (root / "a").symlink_to("b.txt")
    os.mkfifo(root / "b" / "fifo")
    return root


@pytest.fixture
async def threads() -> AsyncIterator[ThreadPool]:
    """One thread, the default of `jobs.background_threads`: work that occupies it delays all work of the job."""
    made = ThreadPool("disk", 1)
    yield made
    await made.close(10)


class CancelAt:
    """Submits work to a pool, and cancels the task that submitted the n-th piece of it right after that."""

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
    """Run ``work(threads)`` again and again, cancelled at its first piece of work, its second, ... until it is done."""

    async def run(work: Callable[[Threads], Coroutine[Any, Any, Any]]) -> AsyncIterator[asyncio.Task[Any]]:
        for count in range(1, 1000):
            task = asyncio.ensure_future(work(CancelAt(threads, count)))
            await asyncio.wait([task])
            await threads.run(int)  # earlier work has ended
            yield task
            if not task.cancelled():
                assert count > 2
                return

    return run


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox on a disk of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small file system")
    root = tmp_path / "small"
    root.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m,mode=0700 tmpfs {root} 2>/dev/null") != 0:
        pytest.skip("mounting is not permitted here")
    try:
        made = Sandbox.create(root, "job")
        yield made
        made.remove()
    finally:
        os.system(f"umount {root}")
