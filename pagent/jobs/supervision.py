"""The states of the supervisor of a job's processes, and the table of their changes."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class Supervision(enum.Enum):
    """States of the supervisor of a tree."""

    NONE = enum.auto()
    REQUESTED = enum.auto()
    RUNNING = enum.auto()
    ENDED = enum.auto()  # with its processes
    KILLED = enum.auto()  # alone


class SupervisorEvent(enum.Enum):
    """The events of a supervisor."""

    REQUESTED = enum.auto()
    STARTED = enum.auto()
    FAILED = enum.auto()
    ENDED = enum.auto()
    KILLED = enum.auto()


_SUPERVISION: Final[Mapping[Supervision, Mapping[SupervisorEvent, Supervision]]] = MappingProxyType(
    {
        Supervision.NONE: {SupervisorEvent.REQUESTED: Supervision.REQUESTED},
        Supervision.REQUESTED: {
            SupervisorEvent.STARTED: Supervision.RUNNING,
            SupervisorEvent.FAILED: Supervision.NONE,
            # Its end is looked at first, also if its start is reported with it.
            SupervisorEvent.ENDED: Supervision.ENDED,
        },
        Supervision.RUNNING: {
            SupervisorEvent.ENDED: Supervision.ENDED,
            SupervisorEvent.KILLED: Supervision.KILLED,
        },
        Supervision.ENDED: {},
        Supervision.KILLED: {},
    }
)


def next_supervision(state: Supervision, event: SupervisorEvent) -> Supervision:
    """Return the state after an event. One that comes late changes nothing."""
    return _SUPERVISION[state].get(event, state)
