"""Run the disk work of one transfer in threads, in steps.

A step never waits for the network, so one thread serves any number of transfers in turn. The resources of a transfer
(descriptors, a temporary file) belong to its steps: cancelling the task that awaits a step does not stop the thread.
So the clean-up is a step too, and runs after the one under way. When a step hangs in the system, its own thread does
the clean-up if it ever returns: no other thread may close its descriptors.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

from pagent import limits
from pagent.errors import EndingError, StuckError
from pagent.limits import KIB, MIB
from pagent.runtime.threads import Threads

#: Bytes of work that are worth the hop to a thread: the hop takes about 50 us, as writing this to the page cache does.
DISK_PIECE: Final = 256 * KIB
#: Bytes that a download reads at a time after its first block, and an upload gathers at least before it writes.
DISK_BLOCK: Final = MIB
#: Work of one step at most, in bytes and in file system entries, so that transfers that share a thread take turns.
DISK_TURN: Final = 4 * MIB
DISK_TURN_ENTRIES: Final = 256

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class DiskWork:
    """Runs the steps of one transfer, one at a time, and ``clean_up`` once after the last.

    A step to which the system gives no answer raises StuckError.
    """

    def __init__(self, threads: Threads, clean_up: Callable[[], None]) -> None:
        # For life.
        self._threads = threads
        self._clean_up = clean_up
        # Of the step under way; the lock is held while it runs.
        self._lock = threading.Lock()
        self._running = False
        self._stuck = False
        # The end.
        self._ended = False
        self._cleaned = False
        self._ending: asyncio.Future[None] | None = None

    def start(self, work: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Start a step as :meth:`run` does, to be awaited later. An error that is never awaited is dropped."""
        return self._submit(self._guarded, work, args, limits.DISK_ANSWER_S)

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return ``work(*args)``, run in a thread.

        Cancelled before its turn it does not run; later it ends by itself.
        """
        return await self.start(work, *args)

    async def run_last(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a step and the clean-up after it in one hop; no clean-up if ``work`` raises."""
        return await self._submit(self._guarded_last, work, args, limits.DISK_COMMIT_S)

    async def end(self) -> None:
        """Clean up, also if this call is cancelled, and wait at most DISK_END_S for it. A second call does nothing."""
        if self._ending is None:
            if self._cleaned:
                return
            if self._stuck:
                self._ended = True  # first: the step reads it after it has stopped running
                if self._running:
                    return
            self._ending = self._threads.submit(self._finish, limit_s=limits.DISK_ANSWER_S, always=True)
        await asyncio.wait((self._ending,), timeout=limits.DISK_END_S)
        error = self._ending.exception() if self._ending.done() else None
        if isinstance(error, EndingError) and not self._running:
            self._finish()
        elif isinstance(error, OSError) and not isinstance(error, StuckError):
            raise error

    def _submit(
        self,
        how: Callable[[Callable[[*Ts], T], tuple[*Ts]], T],
        work: Callable[[*Ts], T],
        args: tuple[*Ts],
        limit_s: float,
    ) -> asyncio.Future[T]:
        future = self._threads.submit(how, work, args, limit_s=limit_s)
        future.add_done_callback(self._note_outcome)
        return future

    def _note_outcome(self, step: asyncio.Future[T]) -> None:
        if not step.cancelled() and isinstance(step.exception(), StuckError):
            self._stuck = True

    # --- in a thread ------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
        self._check_open()
        try:
            with self._lock:
                self._check_open()
                self._running = True
                try:
                    return work(*args)
                finally:
                    self._running = False
        finally:
            if self._ended:  # while this step hung
                self._finish()

    def _check_open(self) -> None:
        if self._ended:
            raise RuntimeError("the transfer has ended")

    def _guarded_last(self, work: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
        result = self._guarded(work, args)
        self._finish()
        return result

    def _finish(self) -> None:
        self._ended = True
        # A step that was cancelled and hangs keeps the lock, and cleans up itself.
        if self._lock.acquire(timeout=limits.DISK_END_S):
            try:
                if not self._cleaned:
                    self._cleaned = True
                    self._clean_up()
            finally:
                self._lock.release()
