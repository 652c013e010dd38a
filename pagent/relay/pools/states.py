"""The states of a request for an agent and of the job that it was made for, and the tables of their changes."""

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
    """Inputs of the state of a request."""

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


class RequestedJobState(enum.Enum):
    """States of the job that a request was made for."""

    WAITING = enum.auto()
    DELIVERED = enum.auto()  # the agent of the request has got it
    REMOVED = enum.auto()  # the agent of the request had it, and has it no more
    MOVED = enum.auto()  # an idle agent has taken it: the request is not needed any more
    CANCELLED = enum.auto()  # whichever agent has it, and so the request


class RequestedJobInput(enum.Enum):
    """Inputs of the state of the requested job. Routers may repeat an input, and learn of it late, from notes."""

    DELIVER = enum.auto()
    REMOVE = enum.auto()
    MOVE = enum.auto()
    CANCEL = enum.auto()


_JOB_TRANSITIONS: Final[Mapping[RequestedJobState, Mapping[RequestedJobInput, RequestedJobState]]] = MappingProxyType(
    {
        RequestedJobState.WAITING: {
            RequestedJobInput.DELIVER: RequestedJobState.DELIVERED,
            RequestedJobInput.REMOVE: RequestedJobState.REMOVED,
            RequestedJobInput.MOVE: RequestedJobState.MOVED,
            RequestedJobInput.CANCEL: RequestedJobState.CANCELLED,
        },
        RequestedJobState.DELIVERED: {
            RequestedJobInput.DELIVER: RequestedJobState.DELIVERED,
            RequestedJobInput.REMOVE: RequestedJobState.REMOVED,
            RequestedJobInput.MOVE: RequestedJobState.DELIVERED,
            RequestedJobInput.CANCEL: RequestedJobState.CANCELLED,
        },
        RequestedJobState.REMOVED: {
            RequestedJobInput.DELIVER: RequestedJobState.REMOVED,
            RequestedJobInput.REMOVE: RequestedJobState.REMOVED,
            RequestedJobInput.MOVE: RequestedJobState.REMOVED,
            RequestedJobInput.CANCEL: RequestedJobState.CANCELLED,
        },
        RequestedJobState.MOVED: {
            RequestedJobInput.DELIVER: RequestedJobState.DELIVERED,
            RequestedJobInput.REMOVE: RequestedJobState.REMOVED,
            RequestedJobInput.MOVE: RequestedJobState.MOVED,
            RequestedJobInput.CANCEL: RequestedJobState.CANCELLED,
        },
        RequestedJobState.CANCELLED: dict.fromkeys(RequestedJobInput, RequestedJobState.CANCELLED),
    }
)


def next_job_state(state: RequestedJobState, event: RequestedJobInput) -> RequestedJobState:
    """Return the state after an input."""
    return _JOB_TRANSITIONS[state][event]
