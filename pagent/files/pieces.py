"""Disk work of one transfer, done in threads in pieces.

A piece never waits for the network, so a single thread serves any number of transfers in turn. What a transfer
holds (descriptors, a temporary file) belongs to its pieces: cancelling the task that awaits one does not stop
the thread, so the clean-up is a piece too, and comes after the one that is under way. After one that hangs in the
system, the thread that hangs does the clean-up, if it ever comes back: nobody else may close what it uses.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

from pagent import limits
from pagent.errors import StuckError
from pagent.limits import KIB, MIB
from pagent.runtime.threads import Threads

#: Bytes of work that are worth the hop to a thread: the hop takes about 50 us, as writing this to the page cache does.
DISK_PIECE: Final = 256 * KIB
#: Bytes that a download reads at a time after its first block, and an upload gathers at least before it writes.
DISK_BLOCK: Final = MIB
#: Work of one hop at most, in bytes and in file system entries, so that transfers that share a thread take turns.
DISK_TURN: Final = 4 * MIB
DISK_TURN_ENTRIES: Final = 256


T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Pieces:
    """Runs the pieces of one transfer, one at a time, and its ``clean_up`` once after the last.

    A piece to which the system gives no answer raises StuckError.
    """

    def __init__(self, threads: Threads, clean_up: Callable[[], None]) -> None:
        # For life.
        self._threads = threads
        self._clean_up = clean_up
        # Of the piece under way; the lock is held while it runs.
        self._lock = threading.Lock()
        self._running = False
        self._stuck = False
        # The end.
        self._ended = False
        self._cleaned = False
        self._ending: asyncio.Future[None] | None = None

    def begin(self, work: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As :meth:`run`, to be awaited later; an error that nobody awaits is dropped."""
        return self._submit(self._guarded, work, args, limits.DISK_ANSWER_S)

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """``work(*args)`` in a thread. Cancelled before its turn it does not run; later it ends by itself."""
        return await self.begin(work, *args)

    async def run_last(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """:meth:`run` and the clean-up after it in one go, if ``work`` does not raise."""
        return await self._submit(self._finished, work, args, limits.DISK_COMMIT_S)

    async def end(self) -> None:
        """Clean up, also if this is cancelled meanwhile. Waits at most DISK_END_S for it. Nothing the second time."""
        if self._ending is None:
            if self._cleaned:
                return
            if self._stuck:
                self._ended = True  # first: the piece looks at it after it has stopped running
                if self._running:
                    return
            self._ending = self._threads.submit(self._finish, limit_s=limits.DISK_ANSWER_S, always=True)
        await asyncio.wait((self._ending,), timeout=limits.DISK_END_S)
        error = self._ending.exception() if self._ending.done() else None
        if isinstance(error, RuntimeError) and not self._running:  # the pool is closed: the process is at its end
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
        future.add_done_callback(self._look)
        return future

    def _look(self, piece: asyncio.Future[T]) -> None:
        if not piece.cancelled() and isinstance(piece.exception(), StuckError):
            self._stuck = True

    # --- in a thread ------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
        self._check()
        try:
            with self._lock:
                self._check()
                self._running = True
                try:
                    return work(*args)
                finally:
                    self._running = False
        finally:
            if self._ended:  # while this piece hung
                self._finish()

    def _check(self) -> None:
        if self._ended:
            raise RuntimeError("the transfer has ended")

    def _finished(self, work: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
        result = self._guarded(work, args)
        self._finish()
        return result

    def _finish(self) -> None:
        self._ended = True
        # A piece that was cancelled and hangs keeps the lock, and cleans up itself.
        if self._lock.acquire(timeout=limits.DISK_END_S):
            try:
                if not self._cleaned:
                    self._cleaned = True
                    self._clean_up()
            finally:
                self._lock.release()
