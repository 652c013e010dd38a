"""The change feed of a router: changes of its agents and their jobs, for event streams and watches."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from pagent.relay.agent import ConnectedAgent
from pagent.relay.record import JobRecord


class ChangeKind(enum.Enum):
    """The kinds of changes."""

    AGENT_UP = "agent.up"
    AGENT_DOWN = "agent.down"
    #: An agent refuses new jobs from now on, or takes them again.
    AGENT_CORDONED = "agent.cordoned"
    #: A second agent has named the uid of an agent, or of a job.
    AGENT_CONFLICT = "agent.conflict"
    JOB_CREATED = "job.created"
    JOB_STATE = "job.state"
    JOB_REMOVED = "job.removed"
    JOB_NOTE = "job.note"
    #: These carry the object itself, in ``data``.
    TICKET_CREATED = "ticket.created"
    TICKET_REVOKED = "ticket.revoked"
    POOL_REQUEST = "pool.request"


class Change(NamedTuple):
    """One change. ``job``: of a removed job as it was last; None for a change of an agent alone.

    ``note``: the name of the note that has changed. ``link``: the one that an agent has come with or has lost.
    ``data``: an object that is neither an agent nor a job, as a GET answers it, for callers that may see ``job``; for
    all callers without one.
    """

    kind: ChangeKind
    agent_uid: str
    job: JobRecord | None = None
    note: str | None = None
    link: ConnectedAgent | None = None
    data: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Return the name of its kind."""
        return self.kind.value


class ChangeFeed:
    """Passes each change to all subscribers, at once. Subscribers return quickly and raise no error."""

    def __init__(self) -> None:
        self._subscribers: dict[Callable[[Change], None], None] = {}

    def subscribe(self, subscriber: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``subscriber`` with each change from now on, until the function that is returned is called."""
        self._subscribers[subscriber] = None
        return partial(self._drop, subscriber)

    def _drop(self, subscriber: Callable[[Change], None]) -> None:
        self._subscribers.pop(subscriber, None)

    def publish(
        self,
        kind: ChangeKind,
        agent_uid: str,
        job: JobRecord | None = None,
        note: str | None = None,
        *,
        link: ConnectedAgent | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Pass a change to all subscribers."""
        if self._subscribers:
            change = Change(kind, agent_uid, job, note, link, data)
            for subscriber in [*self._subscribers]:
                subscriber(change)
