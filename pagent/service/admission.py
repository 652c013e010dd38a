"""The links of routers: which connections an agent makes for them, and which tokens it accepts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from pagent.config.tokens import TOKEN_GONE
from pagent.errors import ProtocolError
from pagent.net.credentials import Credentials
from pagent.net.dial import dial
from pagent.rpc.connection import Connection
from pagent.rpc.methods import Method
from pagent.service.dialling import RouterTarget
from pagent.service.joining import JoinedLife
from pagent.service.links import AgentLinks
from pagent.wire import identity
from pagent.wire.closing import GOING_AWAY, POLICY_VIOLATION

#: The reason of a close when the agent ends.
ENDS: Final = "the agent ends"


class RouterAdmission:
    """Makes the connections of routers that dial in and of dialled routers.

    :param links: gets the connections that are accepted.
    :param credentials: those in force, until :meth:`renew`; ``user_data`` likewise.
    :param life: of an agent that a pool has started; None for another one.
    """

    def __init__(
        self,
        links: AgentLinks,
        credentials: Credentials,
        methods: dict[str, Method],
        life: JoinedLife | None,
        *,
        user_data: Mapping[str, Any],
        instance: str,
        debug: bool,
    ) -> None:
        # For life.
        self._links = links
        self._methods = methods
        self._life = life
        self._instance = instance
        self._debug = debug
        # While running.
        self._credentials = credentials
        self._user_data = user_data
        self._is_ending = False

    def accepted(self) -> Connection | None:
        """Return the connection of a router that dials in; None if the agent ends."""
        if self._is_ending:
            return None
        return self._watched(self._connection(self._authorise_token))

    def operator(self, authorise: Callable[[identity.Peer], object]) -> Connection:
        """Return the connection of an operator's link, which ``authorise`` judges."""
        return self._connection(authorise)

    async def dialled(self, router: RouterTarget, replaces: str | None) -> Connection:
        """Dial a router; return the connection once its WebSocket is open. DialError."""
        credentials, life = self._credentials, self._life
        token = credentials.tokens.for_router(router.text) if life is None else life.token
        connection = self._watched(self._connection(self._authorise_router, token=token, replaces=replaces))
        await dial(router.address, connection, tls=credentials.client_tls, proxy=router.proxy)
        return connection

    def renew(self, credentials: Credentials, user_data: Mapping[str, Any]) -> None:
        """Use other credentials and user data; close the links of tokens that are gone."""
        self._credentials = credentials
        self._user_data = user_data
        self._links.close_unless(self._is_accepted, TOKEN_GONE)

    def end(self) -> None:
        """Accept no more routers."""
        self._is_ending = True

    def _connection(
        self,
        authorise: Callable[[identity.Peer], object],
        *,
        token: str | None = None,
        replaces: str | None = None,
    ) -> Connection:
        """Return a new connection; ``token``: to present to a router that is dialled."""
        data = self._user_data
        if token is not None:
            data = {**data, "auth": {**data["auth"], "token": token}}
        return Connection(
            dialled=token is not None,
            user_data=data,
            methods=self._methods,
            authorise=authorise,
            instance=self._instance,
            replaces=replaces,
            debug=self._debug,
        )

    def _watched(self, connection: Connection) -> Connection:
        """Add the connection to the links once its handshake is over."""
        connection.ready.add_done_callback(lambda ready: self._ready(connection, ready))
        return connection

    def _ready(self, connection: Connection, ready: asyncio.Future[None]) -> None:
        if ready.cancelled() or ready.exception() is not None:
            return
        if self._is_ending:
            connection.link.close(GOING_AWAY, ENDS)
        elif not self._is_accepted(connection):
            connection.link.close(POLICY_VIOLATION, TOKEN_GONE)
        else:
            self._links.add(connection)

    def _authorise_token(self, peer: identity.Peer) -> object:
        accepted = self._credentials.tokens.accepted
        index = identity.token_index(peer.token, accepted)
        if index is None:
            raise ProtocolError("handshake refused: the token is not accepted")
        return ("token", accepted[index])

    def _authorise_router(self, peer: identity.Peer) -> object:
        """Accept a router that we dialled. Its realm is its uid, also when it is dialled again."""
        if self._life is not None and peer.credential is not None:
            self._life.token = peer.credential
        return ("router", peer.uid)

    def _is_accepted(self, connection: Connection) -> bool:
        """Return whether the token of an accepted link is still listed; a dialled router presents none."""
        realms = [("token", token) for token in self._credentials.tokens.accepted]
        return connection.link.dialled or connection.realm in realms
