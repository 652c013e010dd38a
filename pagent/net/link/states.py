"""The states of a link, and the table of their transitions."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class LinkState(enum.Enum):
    NEW = enum.auto()  # no transport yet
    UNAUTHENTICATED = enum.auto()  # connected; the peer is not accepted yet
    OPEN = enum.auto()
    CLOSING = enum.auto()  # our close frame is sent; the peer's is awaited
    FAILED = enum.auto()  # the same because of a fault of the peer: its input is discarded
    CLOSED = enum.auto()


class LinkInput(enum.Enum):
    CONNECTED = enum.auto()  # the transport is there
    ACCEPTED = enum.auto()  # the owner has accepted the peer
    CLOSE = enum.auto()  # the owner closes the link
    PEER_CLOSED = enum.auto()  # the peer's close frame
    FAULT = enum.auto()  # the peer has broken the protocol, or a time limit
    LOST = enum.auto()  # the connection is lost or aborted


#: Any other input is a fault of this package, and a KeyError. Messages that one read has brought are handled one after
#: the other, so each of them may come after a loss.
LINK_TRANSITIONS: Final[Mapping[LinkState, Mapping[LinkInput, LinkState]]] = MappingProxyType(
    {
        LinkState.NEW: {
            LinkInput.CONNECTED: LinkState.UNAUTHENTICATED,
            LinkInput.CLOSE: LinkState.CLOSED,
            LinkInput.LOST: LinkState.CLOSED,
        },
        LinkState.UNAUTHENTICATED: {
            LinkInput.ACCEPTED: LinkState.OPEN,
            LinkInput.CLOSE: LinkState.CLOSING,
            LinkInput.PEER_CLOSED: LinkState.CLOSING,
            LinkInput.FAULT: LinkState.FAILED,
            LinkInput.LOST: LinkState.CLOSED,
        },
        LinkState.OPEN: {
            LinkInput.CLOSE: LinkState.CLOSING,
            LinkInput.PEER_CLOSED: LinkState.CLOSING,
            LinkInput.FAULT: LinkState.FAILED,
            LinkInput.LOST: LinkState.CLOSED,
        },
        LinkState.CLOSING: {
            LinkInput.CLOSE: LinkState.CLOSING,
            LinkInput.PEER_CLOSED: LinkState.CLOSING,
            LinkInput.FAULT: LinkState.FAILED,
            LinkInput.LOST: LinkState.CLOSED,
        },
        LinkState.FAILED: {
            LinkInput.CLOSE: LinkState.FAILED,
            LinkInput.PEER_CLOSED: LinkState.FAILED,
            LinkInput.FAULT: LinkState.FAILED,
            LinkInput.LOST: LinkState.CLOSED,
        },
        LinkState.CLOSED: {
            LinkInput.CLOSE: LinkState.CLOSED,
            LinkInput.PEER_CLOSED: LinkState.CLOSED,
            LinkInput.FAULT: LinkState.CLOSED,
            LinkInput.LOST: LinkState.CLOSED,
        },
    }
)

#: Messages pass in both directions.
LIVE_STATES: Final = frozenset({LinkState.UNAUTHENTICATED, LinkState.OPEN})
