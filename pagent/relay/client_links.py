"""The links of clients: each is made on behalf of a subject."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pagent.config.tokens import TOKEN_GONE
from pagent.errors import ProtocolError, RequestRefusedError
from pagent.relay.service import RelayService
from pagent.rpc.connection import Connection
from pagent.rpc.directory import Gate, Subject
from pagent.wire import identity
from pagent.wire.closing import POLICY_VIOLATION

#: A router relays a client's calls to any agent, so response lines are only for the router's own calls.
_EXTENSIONS: Final = (identity.FLOW, identity.HOLES)


class ClientLinks:
    """Makes the connections of clients that dial in.

    :param gate: knows the tokens that they present, and closes the links of those that are revoked.
    :param options: further arguments of each :class:`~pagent.rpc.connection.Connection`.
    """

    def __init__(self, service: RelayService, gate: Gate, options: Mapping[str, Any]) -> None:
        # For life.
        self._service = service
        self._methods = service.methods()
        self._gate = gate
        self._options = options
        # While running.
        self._open: set[Connection] = set()

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._open))

    def connect(self, subject: Subject) -> Connection:
        """Return the connection of a new link. At a closed router without a subject, its handshake has a token."""

        def authorise(peer: identity.Peer) -> Subject:
            found = self._subject_of(peer) if subject.name is None else subject
            lease = self._gate.lease(found, lambda: connection.link.close(POLICY_VIOLATION, TOKEN_GONE), stream=False)
            if lease is not None:
                connection.link.closed.add_done_callback(lambda _: lease.release())
            return found

        connection = Connection(
            dialled=False, methods=self._methods, authorise=authorise, extensions=_EXTENSIONS, **self._options
        )
        self._open.add(connection)
        connection.ready.add_done_callback(lambda ready: self._ready(connection, ready))
        connection.link.closed.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    def _ready(self, connection: Connection, ready: asyncio.Future[None]) -> None:
        if not ready.cancelled() and ready.exception() is None:
            self._service.client_joined(connection)

    def _subject_of(self, peer: identity.Peer) -> Subject:
        try:
            return self._gate.subject_of(peer.token)
        except RequestRefusedError as error:
            raise ProtocolError(f"handshake refused: {error}", POLICY_VIOLATION) from None
