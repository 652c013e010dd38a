"""Run blocking work in threads, of which a stuck one is replaced.

A read on a dead network file system never returns, and nothing can interrupt it. So the threads are daemons, which do
not keep the process at its end, and work may have a time limit: past it the caller gets an error, and the thread is
written off. It ends by itself if its work ever returns.

All bookkeeping happens on the event loop's thread; a worker only runs functions. A pool belongs to one loop.
"""

from __future__ import annotations

import asyncio
import errno
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple

from pagent import limits
from pagent.errors import EndingError, StuckError
from pagent.runtime.silence import SilenceTimer
from pagent.runtime.tasks import retrieve_error

#: A thread whose work takes longer is replaced for the work of others: pieces of work take a tenth of that.
THREAD_PATIENCE_S: Final = 1.0


T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Threads(Protocol):
    """The interface of a pool and of a share of one, for blocking work."""

    async def run(self, function: Callable[[*Ts], T], *args: *Ts, limit_s: float | None = None) -> T:
        """Return ``function(*args)``, run in a thread, or raise its error."""
        ...

    def submit(
        self, function: Callable[[*Ts], T], *args: *Ts, limit_s: float | None = None, always: bool = False
    ) -> asyncio.Future[T]:
        """Start the work as :meth:`run` does, to be awaited later."""
        ...


class ThreadPool:
    """At most ``size`` threads at a time, started when they are needed, plus those that are slow or stuck.

    A thread whose work takes longer than ``THREAD_PATIENCE_S`` no longer counts against the size: the work of
    others does not wait for its time limit. ``name``: of the threads, and of the pool in errors.
    """

    def __init__(self, name: str, size: int) -> None:
        # For life.
        self.name: Final = name
        self._size: Final = size
        # While open.
        self._waiting: deque[_Work] = deque()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._slow: set[_Worker] = set()
        self._stuck: set[_Worker] = set()
        # The end.
        self._closed = False
        self._drained: asyncio.Future[None] | None = None

    def share(self, size: int) -> Share:
        """Return a part of this pool whose work takes at most ``size`` of the threads at a time."""
        return Share(self, size)

    async def run(self, function: Callable[[*Ts], T], *args: *Ts, limit_s: float | None = None) -> T:
        """Return ``function(*args)``, run in a thread, or raise its error.

        A caller that is cancelled stops waiting: work that has not begun is dropped, other work runs to its end.
        ``limit_s``: seconds from the beginning of the work; StuckError (a TimeoutError) past it. StuckError at once
        if ``limits.STUCK_THREADS`` threads of the pool are stuck already. EndingError if the pool is closed.
        """
        return await self.submit(function, *args, limit_s=limit_s)

    def submit(
        self, function: Callable[[*Ts], T], *args: *Ts, limit_s: float | None = None, always: bool = False
    ) -> asyncio.Future[T]:
        """Start work as :meth:`run` does, to be awaited later. Cancelling the future before it begins drops the work.

        ``always``: it runs however many threads are stuck, because it releases resources of earlier work.
        """
        work = _Work(function, args, limit_s, always, None)
        self._accept(work)
        return work.future

    async def close(self, grace_s: float) -> None:
        """Take no more work, and wait at most ``grace_s`` seconds for the work that the pool has."""
        self._closed = True
        if self._busy or self._slow or self._waiting:
            self._drained = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._drained,), timeout=grace_s)
        while self._waiting:
            self._waiting.popleft().refuse(EndingError(f"the thread pool {self.name} is closed"))
        for worker in [*self._idle, *self._busy, *self._slow]:
            worker.end()
        self._idle.clear()

    # --- bookkeeping --------------------------------------------------------------------------------

    def _accept(self, work: _Work) -> None:
        if self._closed:
            work.refuse(EndingError(f"the thread pool {self.name} is closed"))
        elif len(self._stuck) >= limits.STUCK_THREADS and not work.always:
            work.refuse(StuckError(f"{len(self._stuck)} earlier operations of {self.name} are stuck"))
        else:
            self._waiting.append(work)
            self._dispatch()

    def _dispatch(self) -> None:
        while self._waiting and (self._idle or len(self._busy) < self._size):
            work = self._waiting.popleft()
            if work.future.done():
                work.leave()
                continue
            try:
                worker = self._idle.pop() if self._idle else _Worker(self)
            except RuntimeError:  # the system has no thread left
                if self._busy:
                    self._waiting.appendleft(work)
                    return
                work.refuse(OSError(errno.EAGAIN, "no thread can be started"))
                work.leave()
                continue
            self._busy.add(worker)
            worker.begin(work)

    def overtake(self, worker: _Worker) -> bool:
        """Let another thread do the work that waits for a slow worker. False if too many threads are slow or stuck."""
        if len(self._slow) + len(self._stuck) >= limits.STUCK_THREADS:
            return False
        self._busy.discard(worker)
        self._slow.add(worker)
        self._dispatch()
        return True

    def write_off(self, worker: _Worker, work: _Work) -> None:
        """Fail work that has exceeded its time limit, and do without its thread."""
        self._busy.discard(worker)
        self._slow.discard(worker)
        self._stuck.add(worker)
        work.refuse(StuckError(f"the system gave no answer within {work.limit_s:g} s"))
        self._next(work, stuck=True)

    def finished(self, worker: _Worker, work: _Work, result: Any, error: BaseException | None) -> None:
        """Settle work that a worker has done, and give the worker the next work."""
        if worker in self._stuck:
            self._stuck.discard(worker)
            worker.end()
            work.unstick()
            return
        self._busy.discard(worker)
        self._slow.discard(worker)
        if len(self._busy) + len(self._idle) < self._size:
            self._idle.append(worker)
        else:
            worker.end()
        work.settle(result, error)
        self._next(work)

    def _next(self, work: _Work, *, stuck: bool = False) -> None:
        work.leave(stuck=stuck)
        self._dispatch()
        over = not self._busy and not self._slow and not self._waiting
        if over and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)


class Share:
    """A part of a pool, for the work of one job: it takes at most ``size`` threads, and at most as many stuck ones.

    So one job whose file system hangs holds back no other job.
    """

    def __init__(self, pool: ThreadPool, size: int) -> None:
        # For life.
        self._pool = pool
        self._size = size
        # While in use.
        self._waiting: deque[_Work] = deque()
        self._running = 0
        self._stuck = 0

    async def run(self, function: Callable[[*Ts], T], *args: *Ts, limit_s: float | None = None) -> T:
        """Run as ``ThreadPool.run`` does; StuckError while ``limits.STUCK_THREADS_SHARE`` of this share are stuck."""
        return await self.submit(function, *args, limit_s=limit_s)

    def submit(
        self, function: Callable[[*Ts], T], *args: *Ts, limit_s: float | None = None, always: bool = False
    ) -> asyncio.Future[T]:
        """Start the work as ``ThreadPool.submit`` does."""
        work = _Work(function, args, limit_s, always, self)
        if self._stuck >= limits.STUCK_THREADS_SHARE and not always:
            work.refuse(StuckError(f"{self._stuck} earlier operations of this job are stuck"))
        else:
            self._waiting.append(work)
            self._dispatch()
        return work.future

    def _dispatch(self) -> None:
        while self._waiting and self._running < self._size:
            work = self._waiting.popleft()
            if not work.future.done():
                self._running += 1
                self._pool._accept(work)
                if work.future.done():  # refused
                    self._running -= 1

    def left(self, *, stuck: bool) -> None:
        """Note that work of this share has ended, was dropped, or is stuck."""
        self._running -= 1
        self._stuck += stuck
        self._dispatch()

    def unstuck(self) -> None:
        """Note that stuck work has ended after all."""
        self._stuck -= 1


class _Work:
    """One function to run, and the future of its result."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        limit_s: float | None,
        always: bool,
        share: Share | None,
    ) -> None:
        self.function: Final = function
        self.args: Final = args
        self.limit_s: Final = limit_s
        self.always: Final = always
        self.share: Final = share
        self.loop: Final = asyncio.get_running_loop()
        self.future: Final[asyncio.Future[Any]] = self.loop.create_future()
        self.future.add_done_callback(retrieve_error)  # a caller that was cancelled awaits it no more

    def refuse(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def settle(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)

    def leave(self, *, stuck: bool = False) -> None:
        if self.share is not None:
            self.share.left(stuck=stuck)

    def unstick(self) -> None:
        if self.share is not None:
            self.share.unstuck()


class _Worker:
    """One thread. Its methods are for the loop's thread, but for ``_run``."""

    def __init__(self, pool: ThreadPool) -> None:
        self._pool = pool
        self._inbox: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._timer: SilenceTimer | None = None
        threading.Thread(target=self._run, name=pool.name, daemon=True).start()

    def begin(self, work: _Work) -> None:
        patience_s = THREAD_PATIENCE_S
        if work.limit_s is None or work.limit_s > patience_s:
            self._timer = SilenceTimer(patience_s, self._be_slow, work, patience_s)
        else:
            self._timer = SilenceTimer(work.limit_s, self._pool.write_off, self, work)
        self._inbox.put(work)

    def _be_slow(self, work: _Work, waited_s: float) -> None:
        if not self._pool.overtake(self) and work.limit_s is None:
            self._timer = None
        elif work.limit_s is not None:
            self._timer = SilenceTimer(work.limit_s - waited_s, self._pool.write_off, self, work)

    def end(self) -> None:
        """End the thread after the work that it has."""
        self._inbox.put(None)

    def _run(self) -> None:
        while (work := self._inbox.get()) is not None:
            result, error = None, None
            try:
                result = work.function(*work.args)
            except BaseException as raised:  # noqa: BLE001 - whatever it is, the caller gets it
                error = raised
            try:
                work.loop.call_soon_threadsafe(self._done, work, result, error)
            except RuntimeError:  # the loop is closed: the process is at its end
                return
            del work, result, error  # keep nothing alive while idle

    def _done(self, work: _Work, result: Any, error: BaseException | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pool.finished(self, work, result, error)
