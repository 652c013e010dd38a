"""The interface of the owner of a link."""

from __future__ import annotations

from typing import Protocol

from pagent.buffers import Bytes
from pagent.errors import LinkClosedError


class LinkOwner(Protocol):
    """Gets the messages and events of a link."""

    def link_message(self, payload: Bytes) -> None:
        """Handle one binary message. ProtocolError closes the link with its code."""

    def link_blocked(self) -> None:
        """Keep data that can wait: the transport's buffer is full."""

    def link_writable(self) -> None:
        """Send waiting data: the transport's buffer has room again."""

    def link_lost(self, error: LinkClosedError) -> None:
        """Handle the loss of the link; called once, after the last message."""
