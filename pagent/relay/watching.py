"""``agent_watch`` of a router: pass changes of the jobs of all agents on to a client.

A client may be slow. So it gets the last state of each job, and not each change: docs/router.rst, "Calls of clients".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from pagent.limits import JOBS_WATCHED
from pagent.relay.changes import Change, ChangeKind
from pagent.relay.directory import AgentDirectory
from pagent.relay.record import JobRecord
from pagent.rpc.aio import AsyncStream
from pagent.rpc.directory import JobFacts
from pagent.runtime.tasks import event_within
from pagent.runtime.timeslice import current_slice

#: Changes of an agent that change the state of its jobs.
_LINKS: Final = (ChangeKind.AGENT_UP, ChangeKind.AGENT_DOWN)


class RelayedWatch:
    """One watch. A context manager: the watch begins and ends with the block.

    :param sees: whether the client may see a job.
    :param figures: returns the figures of all hosts.
    """

    def __init__(
        self, directory: AgentDirectory, sees: Callable[[JobFacts], bool], figures: Callable[[], dict[str, Any]]
    ) -> None:
        # For life.
        self._directory = directory
        self._sees = sees
        self._figures = figures
        self._slice = current_slice()
        self._end = directory.changes.subscribe(self._changed)
        # From one message to the next.
        self._known: set[str] = set()  # the jobs that the client was sent
        self._due: dict[str, None] = {}  # uids, the change that waits longest first
        self._news = asyncio.Event()

    def __enter__(self) -> RelayedWatch:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def _changed(self, change: Change) -> None:
        if change.kind in _LINKS and change.link is not None:
            self._due.update(
                (job.uid, None) for job in self._directory.jobs.of(change.link.key) if job.uid in self._known
            )
            self._news.set()
            return
        if change.job is None or change.kind is ChangeKind.JOB_NOTE:
            return
        uid = change.job.uid
        if change.kind is ChangeKind.JOB_REMOVED and uid not in self._known:
            self._due.pop(uid, None)
            return
        self._due[uid] = None
        self._news.set()

    async def send(self, out: AsyncStream, interval_s: float) -> None:
        """Send all jobs, and then their changes, until cancelled."""
        await out.send({"host": self._figures()})
        records = [*self._directory.jobs.later_than(None)]
        for at in range(0, len(records), JOBS_WATCHED):
            await self._slice.wait()
            if infos := self._page(records[at : at + JOBS_WATCHED]):
                await out.send({"jobs": infos})
        await out.send({"ready": True})
        await self._send_changes(out, interval_s)

    async def _send_changes(self, out: AsyncStream, interval_s: float) -> None:
        clock = asyncio.get_running_loop().time
        host_at = clock() + interval_s
        while True:
            if clock() >= host_at:
                host_at = clock() + interval_s
                await out.send({"host": self._figures()})
            await self._slice.wait()
            if (message := self._next()) is not None:
                await out.send(message)
            else:
                await event_within(self._news, host_at - clock())

    # --- messages ---------------------------------------------------------------------------------

    def _page(self, records: list[JobRecord]) -> list[dict[str, Any]]:
        """Return the infos of those jobs that still exist and that the client may see."""
        found = [self._info(record.uid) for record in records]
        return [info for info in found if info is not None]

    def _next(self) -> dict[str, Any] | None:
        """Return the next message on a job; None if nothing is due."""
        while self._due:
            uid = next(iter(self._due))
            if (info := self._info(uid)) is not None:
                return {"job": info}
            if uid in self._known:
                self._known.discard(uid)
                return {"removed": uid}
        self._news.clear()
        return None

    def _info(self, uid: str) -> dict[str, Any] | None:
        """Return the info of a job, of which nothing is due then; None if there is none for this client."""
        self._due.pop(uid, None)
        record, facts = self._directory.jobs.get(uid), self._directory.facts(uid)
        if record is None or facts is None or not self._sees(facts):
            return None
        self._known.add(uid)
        return self._directory.info(record)
