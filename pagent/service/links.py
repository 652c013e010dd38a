"""The links of an agent that are open, and the jobs that end with them (docs/contract.rst, "Owner")."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from pagent.errors import LinkClosedError
from pagent.jobs.manager import JobManager
from pagent.rpc.connection import Connection
from pagent.runtime.tasks import TaskOwner
from pagent.service.jobs import owner_of
from pagent.wire.closing import GOING_AWAY, POLICY_VIOLATION

_log = logging.getLogger(__name__)

#: Close codes of RFC 6455 section 7.4.1.
NORMAL: Final = 1000

_REPLACED: Final = "replaced by a new link of the peer"


class AgentLinks:
    """The open links of an agent, by their ids."""

    def __init__(self, jobs: JobManager) -> None:
        self._jobs = jobs
        self._open: dict[str, Connection] = {}
        self._drops: dict[str, asyncio.Task[None]] = {}  # tasks that end the jobs of a lost link, by its id
        self._tasks = TaskOwner("links")

    def __len__(self) -> int:
        return len(self._open)

    @property
    def open(self) -> list[Connection]:
        """The open links, oldest first."""
        return [*self._open.values()]

    def add(self, connection: Connection) -> None:
        """Add a link whose handshake is done. It leaves by itself when it is lost."""
        peer = connection.peer
        assert peer is not None
        self._open[connection.uid] = connection
        self._jobs.link_made(owner_of(connection))
        connection.on_lost.append(lambda error: self._lost(connection, error))
        _log.info("link %s with %r (%r) at %s", connection.uid, peer.name, peer.uid, connection.link.peer_address)
        if not connection.is_open:
            self._lost(connection, LinkClosedError())
        elif peer.replaces is not None:
            self._close_replaced(connection, peer.replaces)

    def close_unless(self, is_accepted: Callable[[Connection], bool], reason: str) -> None:
        """Close links that are no longer accepted."""
        for connection in self.open:
            if not is_accepted(connection):
                connection.link.close(POLICY_VIOLATION, reason)

    async def close(self, reason: str) -> None:
        """Close all links, because the agent ends."""
        await asyncio.gather(*(connection.close(GOING_AWAY, reason) for connection in self.open))
        await self._tasks.close()

    async def jobs_dropped(self, link_id: str) -> None:
        """Wait until the jobs that end with a lost link have ended."""
        if (drop := self._drops.get(link_id)) is not None:
            await asyncio.wait((drop,))

    def show(self) -> list[dict[str, Any]]:
        """Return the links for the list of the control API."""
        return [
            {
                "uid": connection.uid,
                "mode": "CLIENT" if connection.link.dialled else "SERVER",
                "peer": connection.peer.data if connection.peer else None,
            }
            for connection in self.open
        ]

    def _lost(self, connection: Connection, error: LinkClosedError) -> None:
        if self._open.pop(connection.uid, None) is None:
            return
        _log.info("link %s: %s", connection.uid, error)
        owner = owner_of(connection)
        if self._jobs.links.lost(owner):
            drop = self._tasks.start(self._jobs.drop_owner(owner), name="end the jobs of a lost link")
            self._drops[connection.uid] = drop
            drop.add_done_callback(lambda _: self._drops.pop(connection.uid))

    def _close_replaced(self, connection: Connection, link_id: str) -> None:
        """Close the link that the peer has lost, which may look open here; only its own process may ask for that."""
        old = self._open.get(link_id)
        if old is None or old is connection or old.realm != connection.realm:
            return
        new_peer, old_peer = connection.peer, old.peer
        assert new_peer is not None
        assert old_peer is not None
        if new_peer.instance is not None and (new_peer.uid, new_peer.instance) == (old_peer.uid, old_peer.instance):
            old.link.close(NORMAL, _REPLACED)
