"""The interface of the user of a connection to a job's port."""

from __future__ import annotations

from typing import Protocol


class PortUser(Protocol):
    """Who a port connection works for."""

    def port_data(self, data: bytes) -> None:
        """Bytes from the job."""

    def port_eof(self) -> None:
        """The job has ended its direction; the connection stays open for ours."""

    def port_blocked(self) -> None:
        """The job does not read: send no more."""

    def port_writable(self) -> None:
        """It reads again."""

    def port_lost(self, error: Exception | None) -> None:
        """The connection is gone; None for a clean end."""
