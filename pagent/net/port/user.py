"""The interface of the user of a connection to a job's port."""

from __future__ import annotations

from typing import Protocol


class PortUser(Protocol):
    """Gets what a connection to a job's port receives."""

    def port_data(self, data: bytes) -> None:
        """Handle bytes of the job."""

    def port_eof(self) -> None:
        """The job has ended its direction; ours stays open."""

    def port_blocked(self) -> None:
        """The job does not read: write no more."""

    def port_writable(self) -> None:
        """The job reads again."""

    def port_lost(self, error: Exception | None) -> None:
        """The connection is gone; ``error`` is None for a clean end."""
