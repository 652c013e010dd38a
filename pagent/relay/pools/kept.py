"""Requests that have ended: the data that the router keeps of them, and how long it does."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from pagent.errors import JOB_CALL_ERRORS
from pagent.relay.pools.engine import Engine
from pagent.relay.pools.notes import FAILURES_NOTE
from pagent.relay.pools.queue import JobQueue
from pagent.relay.pools.registry import RequestRegistry
from pagent.relay.pools.request import PoolRequest
from pagent.router_limits import POOL_ENDED_KEPT, POOL_FAILURES_KEPT_S
from pagent.runtime.tasks import TaskOwner


class KeptFailures:
    """Keeps the failures of requests that have ended with the jobs of their commands, and removes these in the end."""

    def __init__(self, requests: RequestRegistry, queue: JobQueue, engine: Engine, tasks: TaskOwner) -> None:
        # For life.
        self._requests = requests
        self._queue = queue
        self._engine = engine
        self._tasks = tasks
        # While running.
        self._timers: Final[dict[str, asyncio.TimerHandle]] = {}

    def add(self, request: PoolRequest) -> None:
        """Keep a request that has ended, and drop the oldest if there are too many."""
        if request.failures:
            age_s = time.time() - max(failure.time for failure in request.failures.values())
            delay_s = min(max(0.0, POOL_FAILURES_KEPT_S - age_s), POOL_FAILURES_KEPT_S)
            timer = asyncio.get_running_loop().call_later(delay_s, self.drop, request)
            self._timers[request.data.rid] = timer
        ended = [each for each in self._requests if each.has_ended]
        for each in ended[: max(0, len(ended) - POOL_ENDED_KEPT)]:
            self.drop(each)

    async def forget(self, request: PoolRequest, job_uid: str) -> None:
        """Forget the failure of a job. ``JOB_CALL_ERRORS``: it is still kept."""
        failure = request.failures.pop(job_uid)
        try:
            if request.has_ended and not request.failures:
                await self._engine.remove(request)
            else:
                await self._engine.note(request, FAILURES_NOTE, request.encoded_failures())
        except JOB_CALL_ERRORS:
            request.failures[job_uid] = failure
            raise
        self._queue.remove(job_uid)
        if request.has_ended and not request.failures:
            self.drop(request)

    def close(self) -> None:
        """Stop all timers. Other routers, and this one when it starts again, have their own."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def drop(self, request: PoolRequest) -> None:
        """Forget a request that has ended, with its failures."""
        if (timer := self._timers.pop(request.data.rid, None)) is not None:
            timer.cancel()
        self._requests.remove(request)
        for job_uid in request.failures:
            self._queue.remove(job_uid)
        if request.failures and not self._tasks.is_closed:
            self._tasks.start(self._engine.discard(request), name="remove the command of a request")
