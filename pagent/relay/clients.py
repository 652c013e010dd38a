"""The clients of the router, and the jobs that they have created (docs/router.rst, "Calls of clients").

A job's labels say which client has created it, and a note says which has adopted it. So each router of the agent knows
the client, also after a restart. A job whose client has no link for as long as the client has asked for is removed,
unless another router of the agent has a link of the client (:mod:`pagent.relay.elsewhere`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from pagent.access.scopes import OWNER
from pagent.errors import JOB_CALL_ERRORS
from pagent.limits import LINGER_MAX_S
from pagent.relay.changes import Change, ChangeKind
from pagent.relay.directory import AgentDirectory
from pagent.relay.elsewhere import Elsewhere
from pagent.relay.record import JobRecord
from pagent.rpc.connection import Connection
from pagent.rpc.host import CallHost
from pagent.runtime.silence import SilenceTimer
from pagent.wire.values import UNPACK_FAULTS, pack, unpack

_log = logging.getLogger(__name__)

#: Labels of a job, set by the router: the client that has created it, and the seconds that it outlives that client.
CLIENT: Final = "pagent/client"
CLIENT_LINGER: Final = "pagent/client-linger"

#: Note of a job: the client that has adopted it, as the packed array of its owner and its uid.
ADOPTED: Final = "pagent/adopted"

#: The least time that a job outlives the last link of the client that has created it.
LINGER_LEAST_S: Final = 60.0
#: The same for a job that waits for an agent of its pool: it has not started, and holds a place in the queue.
QUEUED_LINGER_LEAST_S: Final = 30.0
#: Seconds until a removal that has failed is tried again; the agent may have no link.
AGAIN_S: Final = 5.0
#: Jobs that are removed at once: the end of a job can take its grace period.
_REMOVED_AT_ONCE: Final = 50


class JobClient(NamedTuple):
    """A client: its links have the uid in common. ``owner``: on whose behalf it calls; None in an open router."""

    owner: str | None
    uid: str

    @classmethod
    def of(cls, connection: CallHost, owner: str | None) -> JobClient:
        """Return the client of a link. A client that names no instance is one for each link."""
        peer = connection.peer
        assert peer is not None
        if peer.instance is None:
            return cls(owner, connection.uid)
        return cls(owner, peer.uid if isinstance(peer.uid, str) else peer.uid.hex())

    def labels(self, linger: float | None) -> dict[str, str]:
        """Return the labels of a job that this client creates, and that outlives it for ``linger`` seconds."""
        labels = {CLIENT: self.uid, CLIENT_LINGER: f"{linger or 0.0:g}"}
        return labels if self.owner is None else {OWNER: self.owner, **labels}


class ClientJobs:
    """The jobs of each client, and the end of jobs whose client is gone.

    :param remove: removes a job that waits for an agent of its pool; returns whether it was one.
    """

    def __init__(self, directory: AgentDirectory, remove: Callable[[str], Awaitable[bool]]) -> None:
        # For life.
        self._directory = directory
        self._remove_queued = remove
        self._loop = asyncio.get_running_loop()
        self._elsewhere = Elsewhere(directory, self._has_client)
        self._removals = asyncio.Semaphore(_REMOVED_AT_ONCE)
        # While running.
        self._links: Counter[JobClient] = Counter()
        self._client_of: dict[str, JobClient] = {}  # by job
        self._jobs_of: dict[JobClient, set[str]] = {}
        self._ends: dict[str, SilenceTimer] = {}  # of jobs whose client has no link
        directory.changes.subscribe(self._changed)

    # --- clients come and go ----------------------------------------------------------------------

    def joined(self, client: JobClient, connection: Connection) -> None:
        """Count a link of a client, until it is lost."""
        self._links[client] += 1
        for uid in self._jobs_of.get(client, ()):
            self._keep(uid)
        connection.on_lost.append(lambda error: self._left(client))

    def _left(self, client: JobClient) -> None:
        self._links[client] -= 1
        if not self._links[client]:
            del self._links[client]
            for uid in self._jobs_of.get(client, ()):
                self._end_later(uid)

    def count(self, client: JobClient) -> int:
        """Return how many jobs a client has."""
        return len(self._jobs_of.get(client, ()))

    # --- jobs come and go -------------------------------------------------------------------------

    async def adopt(self, job_uid: str, client: JobClient) -> None:
        """Let a client have a job that another one has created.

        If the agent cannot keep a note of that, it is so until this router ends.
        """
        record = self._directory.jobs.get(job_uid)
        if record is None or CLIENT not in record.labels:
            return
        self._give(job_uid, client)
        try:
            await self._directory.note(job_uid, ADOPTED, pack([client.owner, client.uid]))
        except JOB_CALL_ERRORS as error:
            _log.info("job %s: its agent does not note that a client has adopted it: %s", job_uid, error)

    def _changed(self, change: Change) -> None:
        job = change.job
        if job is None or CLIENT not in job.labels:
            return
        if change.kind is ChangeKind.JOB_CREATED or (
            change.kind is ChangeKind.JOB_STATE and job.uid not in self._client_of
        ):
            self._created(job)
        elif change.kind is ChangeKind.JOB_REMOVED:
            self._take(job.uid)
        elif change.note == ADOPTED and (client := _adopter(job.notes.get(ADOPTED))) is not None:
            self._give(job.uid, client)

    def _created(self, job: JobRecord) -> None:
        client = JobClient(job.labels.get(OWNER), job.labels[CLIENT])
        if job.is_queued and client not in self._links:
            return  # it may have a link to another router, and a job without an agent has no notes to ask by
        self._give(job.uid, client)

    def _give(self, uid: str, client: JobClient) -> None:
        if self._client_of.get(uid) == client:
            return
        self._take(uid)
        self._client_of[uid] = client
        self._jobs_of.setdefault(client, set()).add(uid)
        if client not in self._links:
            self._end_later(uid)

    def _take(self, uid: str) -> None:
        self._keep(uid)
        client = self._client_of.pop(uid, None)
        if client is None:
            return
        jobs = self._jobs_of[client]
        jobs.discard(uid)
        if not jobs:
            del self._jobs_of[client]

    def _has_client(self, uid: str) -> bool:
        """Return whether the client of a job has a link to this router."""
        return self._client_of.get(uid) in self._links

    # --- the end of jobs --------------------------------------------------------------------------

    def _end_later(self, uid: str, delay: float | None = None) -> None:
        """Remove a job after its linger, or ``delay``, unless its client has a link by then."""
        self._keep(uid)
        delay = self._linger(uid) if delay is None else delay
        self._ends[uid] = SilenceTimer(delay, self._is_over, uid, self._is_queued(uid))

    def _keep(self, uid: str) -> None:
        if (timer := self._ends.pop(uid, None)) is not None:
            timer.cancel()

    def _linger(self, uid: str) -> float:
        record = self._directory.jobs.get(uid)
        least = QUEUED_LINGER_LEAST_S if self._is_queued(uid) else LINGER_LEAST_S
        return least if record is None else _linger(record.labels, least)

    def _is_queued(self, uid: str) -> bool:
        record = self._directory.jobs.get(uid)
        return record is not None and record.is_queued

    def _is_over(self, uid: str, was_queued: bool) -> None:
        if was_queued and not self._is_queued(uid):
            self._end_later(uid)  # its agent has come meanwhile
        elif not self._directory.tasks.is_closed:
            self._directory.tasks.start(self._end(uid), name="remove a job of a client that is gone")

    async def _end(self, uid: str) -> None:
        timer = self._ends[uid]
        async with self._removals:
            if self._ends.get(uid) is not timer:
                return
            try:
                if await self._remove_queued(uid):
                    return
                elsewhere = await self._elsewhere.has_client(uid)
                if self._ends.get(uid) is not timer:
                    return
                if elsewhere:
                    self._end_later(uid)
                    return
                await self._directory.remove(uid)
                _log.info("job %s is removed: its client is gone", uid)
            except JOB_CALL_ERRORS as error:
                _log.info("job %s of a client that is gone is not removed now: %s", uid, error)
                if self._ends.get(uid) is timer:
                    self._end_later(uid, AGAIN_S)


def _linger(labels: Mapping[str, str], least: float) -> float:
    """Return the seconds that a job outlives its client."""
    try:
        wanted = float(labels.get(CLIENT_LINGER, "0"))
    except ValueError:
        return least
    return min(wanted, LINGER_MAX_S) if wanted > least else least


def _adopter(note: bytes | None) -> JobClient | None:
    """Return the client that a note names."""
    try:
        match unpack(note or b""):
            case [(str() | None) as owner, str(uid)]:
                return JobClient(owner, uid)
    except UNPACK_FAULTS:
        pass
    return None
