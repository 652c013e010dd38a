"""Admit the agents that pools have started, and give them the credential that they present from then on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from pagent.access.signed import SigningKeys
from pagent.errors import CALL_ERRORS, ProtocolError
from pagent.limits import DEFAULT_CALL_TIMEOUT_S
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.request import PoolRequest
from pagent.relay.pools.tokens import Joined, JoinTokens
from pagent.runtime.tasks import TaskOwner
from pagent.wire import identity
from pagent.wire.closing import POLICY_VIOLATION

_log = logging.getLogger(__name__)

#: The prefix of the realm of an agent that has joined. No configured token has a NUL.
_REALM: Final = "joined\0"
#: How often credentials are renewed.
RENEWAL_S: Final = 3600.0


def is_joined(realm: object) -> bool:
    """Return whether a realm is that of an agent that a pool has started."""
    return isinstance(realm, str) and realm.startswith(_REALM)


def pool_of(realm: object) -> str | None:
    """Return the pool of the agent with a realm; None if it is of none."""
    return realm.split("\0")[1] if isinstance(realm, str) and is_joined(realm) else None


class PoolJoins:
    """Admits agents.

    :param request_of: returns the request with an id, if it is known.
    """

    def __init__(
        self,
        directory: AgentDirectory,
        keys: SigningKeys | None,
        request_of: Callable[[str], PoolRequest | None],
        tasks: TaskOwner,
    ) -> None:
        # For life.
        self._directory = directory
        self._request_of = request_of
        self._tasks = tasks
        self.tokens: Final = JoinTokens(keys or SigningKeys.random())
        # While agents have links.
        self._renewal: asyncio.Task[None] | None = None

    def admit(self, peer: identity.Peer) -> str | None:
        """Return the realm of an agent that a pool has started; None for another agent. ProtocolError: refused."""
        joined = self.tokens.joined(peer)
        if joined is None:
            return None
        request = self._request_of(joined.rid)
        if request is not None:
            if request.has_ended or request.is_ending or request.is_cancelled:
                raise ProtocolError("handshake refused: the request for this agent has ended", POLICY_VIOLATION)
            if request.instance not in (None, peer.instance):
                raise ProtocolError("handshake refused: another process has joined before", POLICY_VIOLATION)
            request.instance = peer.instance
        if self._renewal is None:
            self._renewal = self._tasks.start(self._renew_credentials(), name="renew credentials")
        return f"{_REALM}{joined.pool}\0{joined.rid}\0{joined.uid}"

    def welcome(self, peer: identity.Peer) -> Mapping[str, Any]:
        """Return the fields of the handshake's answer to an agent that joins."""
        joined = self.tokens.joined(peer)
        return {} if joined is None else {identity.CREDENTIAL: self.tokens.credential(joined, peer.instance or "")}

    async def _renew_credentials(self) -> None:
        """Renew the credentials of connected agents every hour, as long as there are some."""
        while True:
            await asyncio.sleep(RENEWAL_S)
            agents = [agent for agent in self._directory.table if is_joined(agent.connection.realm)]
            if not agents:
                self._renewal = None
                return
            for agent in agents:
                await self._renew(agent)

    async def _renew(self, agent: ConnectedAgent) -> None:
        if agent.retiring or agent.instance is None:
            return
        _, pool, rid, uid = str(agent.connection.realm).split("\0")
        value = self.tokens.credential(Joined(pool, rid, uid, None, 0.0), agent.instance)
        try:
            await agent.call("host_credential", value, timeout=DEFAULT_CALL_TIMEOUT_S)
        except CALL_ERRORS as error:
            _log.warning("agent %r: its credential is not renewed: %s", agent.uid, error)
