"""The stages of an unauthenticated connection, and the table of their transitions."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class Stage(enum.Enum):
    SILENT = enum.auto()  # only a socket: no byte was received
    PARTIAL = enum.auto()  # only a socket: the first bytes are not complete
    OPENING = enum.auto()  # the transport is made, with TLS or without
    OPEN = enum.auto()  # a protocol has the connection, and waits for a request or a handshake
    ANSWERING = enum.auto()  # a request is answered
    ENDING = enum.auto()  # the peer has its last answer, and only the end is awaited
    GONE = enum.auto()  # the place is given back


class StageInput(enum.Enum):
    PART = enum.auto()  # some of the first bytes
    WHOLE = enum.auto()  # all of them
    OPENED = enum.auto()  # the protocol has the connection
    REQUEST = enum.auto()  # a whole request head
    NEXT = enum.auto()  # the request is answered: another one, or the handshake of a link, is awaited
    LAST = enum.auto()  # the last answer
    LEAVE = enum.auto()  # the connection is closed, or its peer is authenticated


#: Any other input is a fault of this package, and a KeyError. A protocol may still report steps just after a drop.
STAGE_TRANSITIONS: Final[Mapping[Stage, Mapping[StageInput, Stage]]] = MappingProxyType(
    {
        Stage.SILENT: {
            StageInput.PART: Stage.PARTIAL,
            StageInput.WHOLE: Stage.OPENING,
            StageInput.LEAVE: Stage.GONE,
        },
        Stage.PARTIAL: {
            StageInput.PART: Stage.PARTIAL,
            StageInput.WHOLE: Stage.OPENING,
            StageInput.LEAVE: Stage.GONE,
        },
        Stage.OPENING: {StageInput.OPENED: Stage.OPEN, StageInput.LEAVE: Stage.GONE},
        Stage.OPEN: {
            StageInput.REQUEST: Stage.ANSWERING,
            StageInput.NEXT: Stage.OPEN,
            StageInput.LAST: Stage.ENDING,
            StageInput.LEAVE: Stage.GONE,
        },
        Stage.ANSWERING: {
            StageInput.REQUEST: Stage.ANSWERING,
            StageInput.NEXT: Stage.OPEN,
            StageInput.LAST: Stage.ENDING,
            StageInput.LEAVE: Stage.GONE,
        },
        Stage.ENDING: {
            StageInput.REQUEST: Stage.ENDING,
            StageInput.NEXT: Stage.ENDING,
            StageInput.LAST: Stage.ENDING,
            StageInput.LEAVE: Stage.GONE,
        },
        Stage.GONE: dict.fromkeys(StageInput, Stage.GONE),
    }
)
