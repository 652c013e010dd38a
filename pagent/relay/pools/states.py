"""The states of a request for an agent, and the table of their changes."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class RequestState(enum.Enum):
    """States of a request."""

    REQUESTED = "requested"  # it waits for its turn: the pool has as many agents as it may have
    QUEUED = "queued"  # the command runs
    STARTING = "starting"  # the agent has read its join data
    CONNECTED = "connected"  # the agent has come, and may be away now
    ENDED = "ended"


class RequestInput(enum.Enum):
    """What can happen to a request."""

    START = enum.auto()
    JOIN = enum.auto()
    CONNECT = enum.auto()
    END = enum.auto()


_TRANSITIONS: Final[Mapping[RequestState, Mapping[RequestInput, RequestState]]] = MappingProxyType(
    {
        RequestState.REQUESTED: {
            RequestInput.START: RequestState.QUEUED,
            RequestInput.CONNECT: RequestState.CONNECTED,  # another router has started the command
            RequestInput.END: RequestState.ENDED,
        },
        RequestState.QUEUED: {
            RequestInput.JOIN: RequestState.STARTING,
            RequestInput.CONNECT: RequestState.CONNECTED,
            RequestInput.END: RequestState.ENDED,
        },
        RequestState.STARTING: {
            RequestInput.JOIN: RequestState.STARTING,
            RequestInput.CONNECT: RequestState.CONNECTED,
            RequestInput.END: RequestState.ENDED,
        },
        RequestState.CONNECTED: {
            RequestInput.JOIN: RequestState.CONNECTED,  # its output is read late
            RequestInput.CONNECT: RequestState.CONNECTED,
            RequestInput.END: RequestState.ENDED,
        },
        RequestState.ENDED: {},
    }
)


def next_state(state: RequestState, event: RequestInput) -> RequestState:
    """Return the state after an input. KeyError for one that the state does not have."""
    return _TRANSITIONS[state][event]
