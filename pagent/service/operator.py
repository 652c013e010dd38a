"""The links of the operator: they see the jobs of all realms, and own none (docs/contract.rst, "Owner").

They are no links of routers: the control API does not list them, and no job lives as long as one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from pagent.errors import ProtocolError
from pagent.jobs.model import OPERATOR
from pagent.rpc.connection import Connection
from pagent.wire import identity
from pagent.wire.closing import GOING_AWAY, POLICY_VIOLATION


class OperatorLinks:
    """Accepts links that present a secret.

    :param connect: makes a connection, given the function that returns the realm of a peer.
    """

    def __init__(self, secret: str, connect: Callable[[Callable[[identity.Peer], object]], Connection]) -> None:
        # For life.
        self._secret: Final = secret
        self._connect = connect
        # While running.
        self._open: set[Connection] = set()
        self._is_ending = False

    def accept(self) -> Connection | None:
        """Return the connection of a peer that dials in; None if the agent ends."""
        if self._is_ending:
            return None
        connection = self._connect(self._authorise)
        self._open.add(connection)
        connection.link.closed.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    def _authorise(self, peer: identity.Peer) -> object:
        if identity.token_index(peer.token, (self._secret,)) is None:
            raise ProtocolError("handshake refused: the token is not accepted", POLICY_VIOLATION)
        return OPERATOR

    async def close(self, reason: str) -> None:
        """Accept no more, and close all."""
        self._is_ending = True
        await asyncio.gather(*(connection.close(GOING_AWAY, reason) for connection in [*self._open]))
