"""The links of agents: which connections a router makes for them, and which tokens it accepts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pagent.config.tokens import TOKEN_GONE
from pagent.errors import ProtocolError
from pagent.net.dial import Address
from pagent.relay.credentials import RouterCredentials
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.joins import PoolJoins, is_joined
from pagent.rpc.connection import Connection
from pagent.wire import identity
from pagent.wire.closing import GOING_AWAY, POLICY_VIOLATION


class AgentAdmission:
    """Makes the connections of agents that dial in and of those that are dialled.

    :param credentials: those in force, until :meth:`renew`.
    :param user_data: the router's own handshake data.
    """

    def __init__(
        self,
        directory: AgentDirectory,
        joins: PoolJoins,
        credentials: RouterCredentials,
        *,
        user_data: Mapping[str, Any],
        instance: str,
        debug: bool,
    ) -> None:
        # For life.
        self._directory = directory
        self._joins = joins
        self._user_data = user_data
        self._instance = instance
        self._debug = debug
        # While running.
        self._credentials = credentials
        self._is_ending = False

    def accepted(self) -> Connection | None:
        """Return the connection of an agent that dials in; None if the router ends."""
        if self._is_ending:
            return None
        connection = Connection(
            dialled=False,
            user_data=self._user_data,
            methods={},
            authorise=self._authorise,
            welcome=self._joins.welcome,
            instance=self._instance,
            debug=self._debug,
        )
        connection.ready.add_done_callback(lambda ready: self._ready(connection, ready))
        return connection

    def dialled(self, token: str, replaces: str | None) -> Connection:
        """Return the connection of an agent that is dialled."""
        data = {**self._user_data, "auth": {**self._user_data["auth"], "token": token}}
        return Connection(
            dialled=True,
            user_data=data,
            methods={},
            debug=self._debug,
            instance=self._instance,
            replaces=replaces,
        )

    def token_for(self, address: Address) -> str:
        """Return the token for an agent of ``dial.agents``; empty if it is not listed any more."""
        return self._credentials.dialled.get(address, "")

    def renew(self, credentials: RouterCredentials) -> None:
        """Use other credentials; close the links of tokens that are gone."""
        self._credentials = credentials
        for connection in self._directory.table.connections():
            if not self._is_accepted(connection):
                connection.link.close(POLICY_VIOLATION, TOKEN_GONE)

    def end(self) -> None:
        """Accept no more agents."""
        self._is_ending = True

    def _authorise(self, peer: identity.Peer) -> object:
        """Return the token that an agent presented. ProtocolError if it is not accepted for the agent's uid."""
        token = self._joins.admit(peer) or self._credentials.token_of(peer)
        uid = peer.uid if isinstance(peer.uid, str) else peer.uid.hex()
        if not self._directory.absent.may_come(uid, token):
            raise ProtocolError("handshake refused: the uid came with another token before", POLICY_VIOLATION)
        return token

    def _ready(self, connection: Connection, ready: asyncio.Future[None]) -> None:
        if ready.cancelled() or ready.exception() is not None:
            return
        if self._is_ending:
            connection.link.close(GOING_AWAY, "the router ends")
        elif not self._is_accepted(connection):
            connection.link.close(POLICY_VIOLATION, TOKEN_GONE)
        else:
            self._directory.table.admit(connection)

    def _is_accepted(self, connection: Connection) -> bool:
        realm = connection.realm
        return connection.link.dialled or is_joined(realm) or realm in self._credentials.tokens
