"""The states of a connection to a job's port, and the table of their transitions."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class PortState(enum.Enum):
    CONNECTING = enum.auto()  # no transport yet
    OPEN = enum.auto()
    ENDING = enum.auto()  # the connection is lost; the user still gets the data that came before
    FLUSHING = enum.auto()  # closed by the user; its unsent data is still sent
    CLOSED = enum.auto()  # the user gets nothing more


class PortInput(enum.Enum):
    CONNECTED = enum.auto()  # the transport is there
    LOST = enum.auto()  # the transport is gone
    DELIVERED = enum.auto()  # the user has got all data, and now the end
    CLOSE = enum.auto()  # the user closes
    ABORT = enum.auto()  # the user aborts, or a flush is stalled
    HAND_OVER = enum.auto()  # another protocol gets the transport


#: Any other input is a fault of this package, and a KeyError. A user may close or abort a connection at any time.
PORT_TRANSITIONS: Final[Mapping[PortState, Mapping[PortInput, PortState]]] = MappingProxyType(
    {
        PortState.CONNECTING: {
            PortInput.CONNECTED: PortState.OPEN,
            PortInput.CLOSE: PortState.CLOSED,
            PortInput.ABORT: PortState.CLOSED,
        },
        PortState.OPEN: {
            PortInput.LOST: PortState.ENDING,
            PortInput.CLOSE: PortState.FLUSHING,
            PortInput.ABORT: PortState.CLOSED,
            PortInput.HAND_OVER: PortState.CLOSED,
        },
        PortState.ENDING: {
            PortInput.DELIVERED: PortState.CLOSED,
            PortInput.CLOSE: PortState.CLOSED,
            PortInput.ABORT: PortState.CLOSED,
            PortInput.HAND_OVER: PortState.CLOSED,
        },
        PortState.FLUSHING: {
            PortInput.LOST: PortState.CLOSED,
            PortInput.CLOSE: PortState.FLUSHING,
            PortInput.ABORT: PortState.CLOSED,
        },
        PortState.CLOSED: {
            PortInput.CONNECTED: PortState.CLOSED,  # aborted while it was being made
            PortInput.LOST: PortState.CLOSED,
            PortInput.CLOSE: PortState.CLOSED,
            PortInput.ABORT: PortState.CLOSED,
            PortInput.HAND_OVER: PortState.CLOSED,
        },
    }
)
