"""Who has a link."""

from __future__ import annotations

from typing import Protocol

from pagent.buffers import Bytes
from pagent.errors import LinkClosedError


class LinkOwner(Protocol):
    """Who gets what a link receives."""

    def link_message(self, payload: Bytes) -> None:
        """One binary message. ProtocolError closes the link with its code."""

    def link_blocked(self) -> None:
        """The transport's buffer is full: keep what can wait."""

    def link_writable(self) -> None:
        """It has room again."""

    def link_lost(self, error: LinkClosedError) -> None:
        """The link is gone; called once, after the last message."""
