"""The record that a router keeps of one job."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pagent.errors import RequestRefusedError
from pagent.job_states import CLOSED, FINISHED, NEW, PENDING, QUEUED, RUNNING
from pagent.limits import LINGER_MAX_S
from pagent.relay.agent import AgentKey
from pagent.router_limits import JOB_INFO_KEPT_MAX
from pagent.wire.values import pack, unpack

#: In the place of an agent: jobs that wait for an agent of their pool, or got none.
QUEUE: Final = AgentKey("", "queue")

#: One object for each state, whatever many jobs are in it.
_STATES: Final = {state: state for state in (NEW, PENDING, QUEUED, RUNNING, FINISHED, CLOSED)}
_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
_NO_NOTES: Final[Mapping[str, bytes]] = MappingProxyType({})

#: Memory that a record takes beside its info and its notes, in bytes; and that of a note beside its text.
_OVERHEAD: Final = 1024
_NOTE_OVERHEAD: Final = 128


class JobRecord:
    """One job. ``labels`` and ``notes`` are not to be changed by their readers.

    The info is kept packed, which takes a quarter of the memory of a map.
    """

    __slots__ = ("_packed", "agent", "created_at", "labels", "linger_s", "notes", "state", "uid")

    def __init__(self, uid: str, agent: AgentKey) -> None:
        self.uid: Final = uid
        self.agent = agent
        self.state = NEW
        self.created_at = 0.0
        #: Seconds that it outlives the last link of its agent; None if neither its agent nor its creator has said it.
        self.linger_s: float | None = None
        self.labels: Mapping[str, str] = _NO_LABELS
        self.notes: Mapping[str, bytes] = _NO_NOTES
        self._packed = b""

    @property
    def size(self) -> int:
        """Return the memory that it takes, in bytes, about."""
        notes = sum(_NOTE_OVERHEAD + len(name) + len(value) for name, value in self.notes.items())
        return _OVERHEAD + len(self.uid) + len(self._packed) + notes

    @property
    def agent_uid(self) -> str:
        """Return the uid of its agent."""
        return self.agent.uid

    @property
    def is_queued(self) -> bool:
        """Return whether it has no agent: it waits for one of its pool, or got none."""
        return self.agent is QUEUE

    @property
    def is_new(self) -> bool:
        """Return whether it was not started, as far as its agent has said."""
        return self.state == NEW

    @property
    def age(self) -> tuple[float, str]:
        """Return the key that orders jobs: the time of creation, and the uid."""
        return self.created_at, self.uid

    def info(self) -> dict[str, Any]:
        """Return the latest info of the job, with its labels."""
        info: dict[str, Any] = unpack(self._packed) if self._packed else {"uid": self.uid, "state": self.state}
        if self.labels:
            info["labels"] = dict(self.labels)
        return info

    def snapshot(self) -> JobRecord:
        """Return a copy that stays as this is now, without the notes."""
        found = copy.copy(self)
        found.drop_notes()
        return found

    def take(self, info: Mapping[str, Any]) -> None:
        """Update the record from an agent's info. The labels stay if the agent knows none.

        Of an info that is larger than any of an agent of ours, only the state and the time are taken.
        """
        state, created_at, packed = info.get("state"), info.get("created_at"), pack(dict(info))
        linger = info.get("linger")
        if isinstance(linger, (int, float)) and not isinstance(linger, bool) and 0 <= linger <= LINGER_MAX_S:
            self.linger_s = float(linger)
        if isinstance(state, str):
            self.state = _STATES.get(state, "unknown")
        if isinstance(created_at, (int, float)) and math.isfinite(created_at):
            self.created_at = float(created_at)
        self._packed = b""
        if len(packed) <= JOB_INFO_KEPT_MAX:
            self._packed = packed
            self.labels = self.labels if (labels := labels_of(info)) is None else labels or _NO_LABELS

    def note(self, name: str, value: bytes | None) -> None:
        """Keep a note, or delete it."""
        others = {each: kept for each, kept in self.notes.items() if each != name}
        self.notes = (others if value is None else {**others, name: value}) or _NO_NOTES

    def drop_notes(self) -> None:
        """Delete all notes."""
        self.notes = _NO_NOTES


def age_of(info: Mapping[str, Any]) -> tuple[float, str]:
    """Return the key that orders the infos of jobs."""
    created_at = info.get("created_at")
    if not isinstance(created_at, (int, float)) or not math.isfinite(created_at):
        created_at = 0.0
    return float(created_at), info["uid"]


def labels_of(info: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the labels in a job's info; None for the info of an agent that knows no labels."""
    labels = info.get("labels")
    if not isinstance(labels, dict):
        return None
    return {name: value for name, value in labels.items() if isinstance(name, str) and isinstance(value, str)}


def without_agent(record: JobRecord) -> RequestRefusedError:
    """Return the error for requests to a job that waits for an agent of its pool, or got none."""
    if record.state == QUEUED:
        return RequestRefusedError(503, "the job waits for an agent of its pool", retry_after_s=5)
    return RequestRefusedError(502, "the job has ended: it got no agent of its pool")
