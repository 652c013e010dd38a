"""The clients of the router, and the jobs that they have created (docs/router.rst, "Calls of clients").

A job's labels say which client has created it, so any router of the site knows it, also after a restart. A job whose
client has no link for as long as the client has asked for is removed. Which jobs that are is looked up once in
``SWEEP_S``: a job of a client that is gone may become known at any time, with its agent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from pagent.errors import CallError, LinkClosedError
from pagent.limits import DEFAULT_CALL_TIMEOUT_S
from pagent.relay.directory import AgentDirectory
from pagent.rpc.connection import Connection
from pagent.rpc.host import CallHost

_log = logging.getLogger(__name__)

#: Labels of a job, set by the router: its owner, the client that has created it, and the seconds that it outlives that
#: client.
OWNER: Final = "pagent/owner"
CLIENT: Final = "pagent/client"
CLIENT_LINGER: Final = "pagent/client-linger"

#: The least time that a job outlives the last link of the client that has created it.
LINGER_LEAST_S: Final = 60.0
#: The time between two searches for jobs of clients that are gone.
SWEEP_S: Final = 5.0
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
        """Return the labels of a job that this client creates, which outlives it for so many seconds."""
        labels = {CLIENT: self.uid, CLIENT_LINGER: f"{linger or 0.0:g}"}
        return labels if self.owner is None else {OWNER: self.owner, **labels}


class ClientJobs:
    """The jobs of each client, and the end of jobs whose client is gone."""

    def __init__(self, directory: AgentDirectory) -> None:
        # For life.
        self._directory = directory
        self._loop = asyncio.get_running_loop()
        # While running.
        self._links: Counter[JobClient] = Counter()
        self._gone_since: dict[JobClient, float] = {}
        self._adopted: dict[str, JobClient] = {}  # by job: instead of the client that its labels name
        directory.tasks.start(self._sweep(), name="remove jobs of clients that are gone")

    # --- clients come and go ----------------------------------------------------------------------

    def joined(self, client: JobClient, connection: Connection) -> None:
        """Count a link of a client, until it is lost."""
        self._links[client] += 1
        self._gone_since.pop(client, None)
        connection.on_lost.append(lambda error: self._left(client))

    def _left(self, client: JobClient) -> None:
        self._links[client] -= 1
        if not self._links[client]:
            del self._links[client]
            self._gone_since[client] = self._loop.time()

    # --- jobs -------------------------------------------------------------------------------------

    def adopt(self, job_uid: str, client: JobClient) -> None:
        """Let a client have a job that another one has created."""
        self._adopted[job_uid] = client

    def count(self, client: JobClient) -> int:
        """Return how many jobs a client has."""
        return sum(each == client for _, each, _ in self._jobs())

    def _jobs(self) -> Iterator[tuple[str, JobClient, float]]:
        """Yield the jobs that clients have created, with the client of each and its linger."""
        for uid, labels in self._directory.jobs.labelled():
            if CLIENT in labels:
                client = self._adopted.get(uid) or JobClient(labels.get(OWNER), labels[CLIENT])
                yield uid, client, _linger(labels)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._forget()
            due = self._due()
            for first in range(0, len(due), _REMOVED_AT_ONCE):
                await asyncio.gather(*map(self._remove, due[first : first + _REMOVED_AT_ONCE]))

    def _due(self) -> list[str]:
        """Return the jobs whose time is over."""
        now = self._loop.time()
        return [
            uid
            for uid, client, linger in self._jobs()
            if client not in self._links and now - self._gone_since.setdefault(client, now) >= linger
        ]

    def _forget(self) -> None:
        """Forget the clients and the adoptions of jobs that there are no more."""
        self._adopted = {uid: client for uid, client in self._adopted.items() if self._directory.facts(uid)}
        having = {client for _, client, _ in self._jobs()}
        self._gone_since = {client: since for client, since in self._gone_since.items() if client in having}

    async def _remove(self, uid: str) -> None:
        key = self._directory.jobs.agent_of(uid)
        agent = None if key is None else self._directory.table.newest(key)
        if agent is None:
            return  # until its agent is back
        try:
            await agent.call("job_remove", uid, timeout=DEFAULT_CALL_TIMEOUT_S)
        except (CallError, LinkClosedError) as error:
            _log.info("job %s of a client that is gone is not removed: %s", uid, error)
            return
        _log.info("job %s is removed: its client is gone", uid)
        self._directory.removed(uid)


def _linger(labels: Mapping[str, str]) -> float:
    """Return the seconds that a job outlives its client."""
    try:
        wanted = float(labels.get(CLIENT_LINGER, "0"))
    except ValueError:
        return LINGER_LEAST_S
    return wanted if wanted > LINGER_LEAST_S else LINGER_LEAST_S
