"""Pause the reading of a link for several owners, each of which has a name."""

from __future__ import annotations

import asyncio
import logging

_log = logging.getLogger(__name__)


class ReadGate:
    """The transport reads while no owner pauses it. Each owner bounds the time of its pauses by itself.

    At the log level debug the log says which owner paused the reading, and which was the last to resume it.
    """

    __slots__ = ("_owners", "_peer", "_transport")

    def __init__(self) -> None:
        self._peer = ""
        self._transport: asyncio.Transport | None = None
        self._owners: set[str] = set()

    def open(self, transport: asyncio.Transport, peer: str) -> None:
        """Control the reading of ``transport``, which is not paused. ``peer``: its address, for the log."""
        self._peer = peer
        self._transport = transport

    def close(self) -> None:
        """Leave the transport alone: the connection is gone."""
        self._transport = None

    @property
    def owners(self) -> frozenset[str]:
        """The owners whose pauses are under way."""
        return frozenset(self._owners)

    def pause(self, owner: str) -> None:
        """Read nothing until each owner that has paused the reading resumes it."""
        if owner in self._owners:
            return
        self._owners.add(owner)
        if len(self._owners) == 1 and self._transport is not None:
            self._log("paused", owner)
            self._transport.pause_reading()

    def resume(self, owner: str) -> None:
        """End the pause of ``owner``, if it has one."""
        if owner not in self._owners:
            return
        self._owners.remove(owner)
        if not self._owners and self._transport is not None:
            self._log("resumed", owner)
            self._transport.resume_reading()

    def _log(self, change: str, owner: str) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: reading is %s by %s", self._peer, change, owner)
