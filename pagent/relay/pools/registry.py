"""The requests that a router knows, and the changes of agents and jobs that concern them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pagent.relay.pools.request import PoolRequest
from pagent.relay.pools.states import RequestState


class RequestRegistry:
    """Requests by their id, by the job of their command and by their agent, with those that have ended recently."""

    def __init__(self) -> None:
        self._by_rid: Final[dict[str, PoolRequest]] = {}
        self._by_uid: Final[dict[str, PoolRequest]] = {}  # of the command's job, and of the agent

    def __iter__(self) -> Iterator[PoolRequest]:
        return iter([*self._by_rid.values()])

    def add(self, request: PoolRequest) -> None:
        """Add a request, in the place of one with its id."""
        self._by_rid[request.data.rid] = request
        self._by_uid[request.command] = self._by_uid[request.data.agent_uid] = request

    def remove(self, request: PoolRequest) -> None:
        """Remove a request, if it is there."""
        if self._by_rid.get(request.data.rid) is request:
            del self._by_rid[request.data.rid], self._by_uid[request.command], self._by_uid[request.data.agent_uid]

    def get(self, rid: str) -> PoolRequest | None:
        """Return the request with an id; None if it is not known."""
        return self._by_rid.get(rid)

    def concerned(self, *uids: str | None) -> PoolRequest | None:
        """Return the request of an agent or of a command's job; None if it is of no request."""
        return next((found for uid in uids if uid is not None and (found := self._by_uid.get(uid)) is not None), None)

    def of(self, pool: str) -> list[PoolRequest]:
        """Return the requests of a pool."""
        return [request for request in self._by_rid.values() if request.data.pool == pool]

    def active(self, pool: str | None = None) -> list[PoolRequest]:
        """Return the requests of a pool, or of all, that have not ended."""
        return [
            request for request in self._by_rid.values() if not request.has_ended and pool in (None, request.data.pool)
        ]

    def waiting(self, pool: str) -> list[PoolRequest]:
        """Return the requests of a pool that have not started, the first one first."""
        found = [request for request in self.active(pool) if request.state is RequestState.REQUESTED]
        return sorted(found, key=lambda request: request.place)

    def with_job(self, job_uid: str) -> PoolRequest | None:
        """Return the request that a job waits for, or could not be started by; None if there is none.

        A job whose cancellation is not kept yet still counts.
        """
        for request in reversed(self._by_rid.values()):
            is_unkept = job_uid in request.unkept and not request.has_ended
            if is_unkept or job_uid in request.failures or any(job.uid == job_uid for job in request.pending.values()):
                return request
        return None
