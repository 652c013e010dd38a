"""The interface of the user of a connection to a job's port."""

from __future__ import annotations

from typing import Protocol


class PortUser(Protocol):
    """Gets the data and events of a connection to a job's port."""

    def port_data(self, data: bytes) -> None:
        """Handle bytes of the job."""

    def port_eof(self) -> None:
        """Handle the end of the job's direction; ours stays open."""

    def port_blocked(self) -> None:
        """Write no more: the job does not read."""

    def port_writable(self) -> None:
        """Write again: the job reads."""

    def port_lost(self, error: Exception | None) -> None:
        """Handle the end of the connection; ``error`` is None for a clean end."""
