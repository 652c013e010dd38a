"""The jobs that a router knows, with the agent of each.

No part of this table must survive the router: an agent of ours lists its jobs whenever it comes back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pagent.access.scopes import OWNER
from pagent.errors import JobNotFoundError
from pagent.job_states import PENDING
from pagent.relay.agent import AgentKey
from pagent.relay.changes import ChangeFeed, ChangeKind
from pagent.relay.record import QUEUE, JobRecord
from pagent.router_limits import AGENT_JOBS_KEPT_MAX
from pagent.rpc.directory import JobFacts

_log = logging.getLogger(__name__)

#: Called with a job, and with the agent that names it as its own, too.
Duplicate = Callable[[JobRecord, AgentKey, Mapping[str, Any]], None]

#: Seconds that messages of an agent on a job may arrive after the job's removal.
_LATE_S: Final = 30.0


class JobTable:
    """All jobs that are known.

    A job belongs to the agent that has named it first, until that agent is forgotten. ``reclaim`` is called then, with
    another agent that has named the job meanwhile. ``duplicate`` is called with what a second agent says of a job.
    """

    def __init__(self, feed: ChangeFeed, reclaim: Callable[[AgentKey], None], duplicate: Duplicate) -> None:
        # For life.
        self._feed = feed
        self._reclaim = reclaim
        self._duplicate = duplicate
        # While running.
        self._jobs: dict[str, JobRecord] = {}
        self._order: list[tuple[float, str]] = []  # the ages of all jobs
        self._jobs_of: dict[AgentKey, dict[str, JobRecord]] = {}
        self._sizes: dict[AgentKey, int] = {}  # bytes that the jobs of an agent take
        self._claims: dict[str, AgentKey] = {}  # jobs that an agent names as its own, but another has
        self._removed: dict[str, float] = {}  # jobs, and when they were removed; the oldest first
        self._awaited: dict[str, str] = {}  # the agents that queued jobs are to get, until the jobs are started there
        self._started: set[str] = set()  # of these jobs, the ones that were started; their agents have not said so yet
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    # --- looking up -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, job_uid: str) -> JobRecord | None:
        """Return a job; None if it is not known."""
        return self._jobs.get(job_uid)

    def agent_of(self, job_uid: str) -> AgentKey | None:
        """Return the agent that has the job; None for a job that is not known."""
        record = self._jobs.get(job_uid)
        return None if record is None else record.agent

    def facts(self, job_uid: str) -> JobFacts | None:
        """Return the facts of a job; None for a job that is not known."""
        record = self._jobs.get(job_uid)
        return None if record is None else JobFacts(job_uid, record.agent.uid, record.labels)

    def is_pending(self, job_uid: str) -> bool:
        """Return whether a job is started and not ready yet."""
        record = self._jobs.get(job_uid)
        return record is not None and record.state == PENDING

    def is_awaited(self, job_uid: str) -> bool:
        """Return whether a job of a pool is not at its agent yet, or is being started there."""
        return job_uid in self._awaited

    def states(self) -> Iterator[str]:
        """Return the states of all jobs."""
        return (record.state for record in self._jobs.values())

    def count(self, agent: AgentKey) -> int:
        """Return how many jobs of an agent are known."""
        return len(self._jobs_of.get(agent, ()))

    def of(self, agent: AgentKey) -> list[JobRecord]:
        """Return the jobs of an agent."""
        return [*self._jobs_of.get(agent, {}).values()]

    def owned(self, name: str) -> int:
        """Return how many jobs have this owner."""
        return sum([record.labels.get(OWNER) == name for record in self._jobs.values()])

    def later_than(self, job_uid: str | None) -> Iterator[JobRecord]:
        """Iterate over the jobs in the order of their creation, from the one after ``job_uid``. JobNotFoundError.

        The table must not change meanwhile.
        """
        if job_uid is None:
            return self.from_age(None)
        if (after := self._jobs.get(job_uid)) is None:
            raise JobNotFoundError(job_uid)
        return self.from_age(after.age)

    def from_age(self, age: tuple[float, str] | None) -> Iterator[JobRecord]:
        """Iterate over the jobs in the order of their creation, from the one after this age, which may be of none.

        The table must not change meanwhile.
        """
        begin = 0 if age is None else bisect_right(self._order, age)
        for index in range(begin, len(self._order)):
            yield self._jobs[self._order[index][1]]

    # --- jobs come and go -------------------------------------------------------------------------

    def update(self, agent: AgentKey, info: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> bool:
        """Update a job from its agent's info. Return whether the info is believed, and the job is known now.

        ``labels``: of a job that is new, if the agent knows no labels.
        """
        record = self._jobs.get(info["uid"])
        if record is None:
            return self._create(agent, info, labels)
        if record.is_queued:
            if self._awaited.get(record.uid) != agent.uid:
                if record.uid not in self._removed:
                    self._contested(record, agent)
                return False
        elif record.agent.uid != agent.uid:
            self._contested(record, agent)
            self._duplicate(record, agent, info)
            return False
        self._change(record, agent, info)
        return True

    def _create(self, agent: AgentKey, info: Mapping[str, Any], labels: Mapping[str, str] | None) -> bool:
        if info["uid"] in self._removed and agent is not QUEUE:
            return False  # the agent has said it before the removal
        if self._sizes.get(agent, 0) >= AGENT_JOBS_KEPT_MAX:
            _log.warning("agent %r has more jobs than are kept: job %s is not found", agent.uid, info["uid"])
            return False
        record = self._jobs[info["uid"]] = JobRecord(info["uid"], agent)
        record.labels = labels or record.labels
        record.take(info)
        self._link(record)
        self._feed.publish(ChangeKind.JOB_CREATED, agent.uid, record)
        return True

    def _change(self, record: JobRecord, agent: AgentKey, info: Mapping[str, Any]) -> None:
        before, state, size = (record.agent, record.age), record.state, record.size
        record.agent = agent
        record.take(info)
        if (agent, record.age) == before:
            self._sizes[agent] += record.size - size
        else:
            self._unlink(record.uid, *before, size)
            self._link(record)
        if record.state != state:
            self._feed.publish(ChangeKind.JOB_STATE, agent.uid, record)
            self._wake(record.uid)
        if record.uid in self._started and agent is not QUEUE:
            self.arrived(record.uid)

    # --- jobs that wait for an agent of their pool ------------------------------------------------

    def queue(self, info: Mapping[str, Any], agent_uid: str | None) -> bool:
        """Keep a job that waits for an agent, or take over news of it. Return whether it is kept.

        ``agent_uid``: the agent that is to get it; None for a job that gets none.
        """
        uid, record = info["uid"], self._jobs.get(info["uid"])
        if record is not None and not record.is_queued and record.agent.uid != agent_uid:
            return False
        if agent_uid is None:
            self._awaited.pop(uid, None)
            self._started.discard(uid)
        else:
            self._awaited[uid] = agent_uid
        if record is None:
            return self._create(QUEUE, info, None)
        if record.is_queued:
            self._change(record, QUEUE, info)
        return True

    def arrived(self, job_uid: str) -> None:
        """Note that a job of a pool is at its agent, and was started if it was to be."""
        record = self._jobs.get(job_uid)
        if job_uid not in self._awaited or record is None:
            return
        if record.is_queued:
            self._started.add(job_uid)  # by another router; the agent's own word is still under way
            return
        self._started.discard(job_uid)
        del self._awaited[job_uid]
        self._wake(job_uid)

    # --- notes, and the end -----------------------------------------------------------------------

    def note(self, agent: AgentKey, job_uid: str, name: str, value: bytes | None) -> None:
        """Keep a note of a job of this agent, or delete it."""
        record = self._jobs_of.get(agent, {}).get(job_uid)
        if record is None:
            return
        if value is not None and self._sizes[agent] + len(value) > AGENT_JOBS_KEPT_MAX:
            _log.warning(
                "agent %r has more notes than are kept; note %r of job %s is dropped", agent.uid, name, job_uid
            )
            return
        self._sizes[agent] -= record.size
        record.note(name, value)
        self._sizes[agent] += record.size
        self._feed.publish(ChangeKind.JOB_NOTE, agent.uid, record, name)

    def removed(self, job_uid: str) -> None:
        """Forget a job that this router has had removed. Late messages of its agent on the job are ignored."""
        now = time.monotonic()
        while self._removed and now - next(iter(self._removed.values())) > _LATE_S:
            del self._removed[next(iter(self._removed))]
        if job_uid in self._jobs:
            self._removed[job_uid] = now
            self.discard(job_uid)

    def discard_agent(self, agent: AgentKey) -> None:
        """Forget all jobs of an agent. It may list them again."""
        self._claims = {uid: claimant for uid, claimant in self._claims.items() if claimant != agent}
        for job_uid in list(self._jobs_of.get(agent, ())):
            self.discard(job_uid)

    def discard(self, job_uid: str) -> None:
        """Forget a job. Its agent may name it again."""
        record = self._jobs.pop(job_uid, None)
        if record is None:
            return
        self._awaited.pop(job_uid, None)
        self._started.discard(job_uid)
        self._unlink(job_uid, record.agent, record.age, record.size)
        self._feed.publish(ChangeKind.JOB_REMOVED, record.agent.uid, record)
        self._wake(job_uid)
        if (claimant := self._claims.pop(job_uid, None)) is not None:
            self._removed.pop(job_uid, None)
            self._reclaim(claimant)

    def _contested(self, record: JobRecord, agent: AgentKey) -> None:
        if self._claims.get(record.uid) != agent:
            self._claims[record.uid] = agent
            self._feed.publish(ChangeKind.AGENT_CONFLICT, agent.uid, record)
        _log.warning(
            "agent.conflict: agent %r names the job %r as its own, which %r has",
            agent.uid,
            record.uid,
            record.agent.uid,
        )

    # --- the indices ------------------------------------------------------------------------------

    def _link(self, record: JobRecord) -> None:
        insort(self._order, record.age)
        self._jobs_of.setdefault(record.agent, {})[record.uid] = record
        self._sizes[record.agent] = self._sizes.get(record.agent, 0) + record.size

    def _unlink(self, uid: str, agent: AgentKey, age: tuple[float, str], size: int) -> None:
        del self._order[bisect_left(self._order, age)]
        jobs = self._jobs_of[agent]
        del jobs[uid]
        self._sizes[agent] -= size
        if not jobs:
            del self._jobs_of[agent], self._sizes[agent]

    # --- waiting ----------------------------------------------------------------------------------

    async def changed(self, job_uid: str) -> None:
        """Wait until the state of a job changes, the job is removed, or :meth:`wake` is called for its agent."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_uid, []).append(future)
        try:
            await future
        finally:
            if (waiting := self._waiting.get(job_uid)) is not None and future in waiting:
                waiting.remove(future)
                if not waiting:
                    del self._waiting[job_uid]

    def wake(self, agent: AgentKey) -> None:
        """Let the waits for jobs of an agent end: its link is lost."""
        for job_uid in [uid for uid in self._waiting if self.agent_of(uid) == agent]:
            self._wake(job_uid)

    def _wake(self, job_uid: str) -> None:
        for future in self._waiting.pop(job_uid, ()):
            if not future.done():
                future.set_result(None)
