"""Notes of jobs at their agents, and the meaning of notes of tickets (docs/access.rst, "Tickets").

An agent that keeps no notes is one of the field, or of an older release: its jobs' notes are then this router's own.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from pagent.access.ticket_table import TicketTable
from pagent.errors import MethodNotFoundError
from pagent.limits import DEFAULT_CALL_TIMEOUT_S
from pagent.relay.agent import ConnectedAgent
from pagent.relay.changes import Change, ChangeKind
from pagent.relay.directory import AgentDirectory
from pagent.rpc.directory import ANY_CONNECTION, JobAddress


class KeptNotes:
    """Puts notes, and keeps the table of tickets by those that have changed.

    A note that was put is in the router's table of jobs at once, not only when the agent repeats it.
    """

    def __init__(self, directory: AgentDirectory, tickets: TicketTable) -> None:
        # For life.
        self._directory: Final = directory
        self._tickets: Final = tickets
        self._end_feed = directory.changes.subscribe(self._changed)
        # Of notes that only this router has.
        self._expiries: dict[tuple[str, str], asyncio.TimerHandle] = {}

    async def put(
        self, job_uid: str, name: str, value: bytes | None, ttl: float | None = None, *, if_absent: bool = False
    ) -> bool:
        """Keep a note, None deletes it; return False if it is there and ``if_absent`` is set.

        ``JOB_CALL_ERRORS``.
        """
        agent = await self._directory.locate(JobAddress(ANY_CONNECTION, job_uid))
        if agent.is_ours:
            try:
                done = await agent.call(
                    "job_note", job_uid, name, value, ttl, if_absent, timeout=DEFAULT_CALL_TIMEOUT_S
                )
            except MethodNotFoundError:
                pass
            else:
                if done is True:
                    self._directory.jobs.note(agent.key, job_uid, name, value)
                return done is True
        return self._put_here(agent, job_uid, name, value, ttl, if_absent)

    def _put_here(
        self, agent: ConnectedAgent, job_uid: str, name: str, value: bytes | None, ttl: float | None, if_absent: bool
    ) -> bool:
        record = self._directory.jobs.get(job_uid)
        if record is None or (if_absent and name in record.notes):
            return False
        if (expiry := self._expiries.pop((job_uid, name), None)) is not None:
            expiry.cancel()
        self._directory.jobs.note(agent.key, job_uid, name, value)
        if value is not None and ttl is not None:
            loop = asyncio.get_running_loop()
            self._expiries[job_uid, name] = loop.call_later(ttl, partial(self._expire, job_uid, name))
        return True

    def _expire(self, job_uid: str, name: str) -> None:
        self._expiries.pop((job_uid, name), None)
        if (record := self._directory.jobs.get(job_uid)) is not None:
            self._directory.jobs.note(record.agent, job_uid, name, None)

    def _changed(self, change: Change) -> None:
        record = change.job
        if record is None:
            return
        if change.kind is ChangeKind.JOB_REMOVED:
            self._tickets.forget(record.uid)
            for key in [key for key in self._expiries if key[0] == record.uid] if self._expiries else ():
                self._expiries.pop(key).cancel()
        elif change.kind is ChangeKind.JOB_NOTE and change.note is not None:
            event = self._tickets.take(record.uid, change.note, record.notes.get(change.note))
            if event is not None:
                kind = ChangeKind.TICKET_REVOKED if event.is_revoked else ChangeKind.TICKET_CREATED
                self._directory.changes.publish(kind, change.agent_uid, record, data=event.ticket.view())

    def close(self) -> None:
        """Follow the notes no more."""
        self._end_feed()
        for expiry in self._expiries.values():
            expiry.cancel()
        self._expiries.clear()
