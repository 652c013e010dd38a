"""Disk work of one transfer, done in threads in pieces.

A piece never waits for the network, so a single thread serves any number of transfers in turn. What a transfer
holds (descriptors, a temporary file) belongs to its pieces: cancelling the task that awaits one does not stop
the thread, so the clean-up is a piece too, and comes after the one that is under way.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

from pagent.net.tasks import noticed

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Pieces:
    """Runs the pieces of one transfer, one at a time, and its ``clean_up`` once after the last."""

    def __init__(self, executor: Executor, clean_up: Callable[[], None]) -> None:
        self._executor = executor
        self._clean_up = clean_up
        self._lock = threading.Lock()
        self._ended = False
        self._ending: asyncio.Future[None] | None = None

    def begin(self, work: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As :meth:`run`, to be awaited later; an error that nobody awaits is dropped."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._guarded, work, args)
        future.add_done_callback(noticed)
        return future

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """``work(*args)`` in a thread. Cancelled before its turn it does not run; later it ends by itself."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._guarded, work, args)

    async def run_last(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """:meth:`run` and the clean-up behind it in one go, if ``work`` does not raise."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._finished, work, args)

    async def end(self) -> None:
        """Clean up, also if this is cancelled meanwhile. Nothing the second time."""
        if self._ending is None:
            if self._ended:
                return
            try:
                self._ending = asyncio.get_running_loop().run_in_executor(self._executor, self._finish)
            except RuntimeError:  # the executor is shut down: the agent ends, and the loop may wait
                self._finish()
                return
        await asyncio.shield(self._ending)

    def _guarded(self, work: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
        with self._lock:
            if self._ended:
                raise RuntimeError("the transfer has ended")
            return work(*args)

    def _finished(self, work: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
        result = self._guarded(work, args)
        self._finish()
        return result

    def _finish(self) -> None:
        with self._lock:
            if not self._ended:
                self._ended = True
                self._clean_up()
