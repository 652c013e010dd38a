"""The connected agents by connection id and by uid, and the rules for a second link of the same uid.

A uid belongs to the token that it came with as long as one of its links is open, and after that as long as a job of it
may be adopted. What follows is about links that agents have made. An agent that the router has dialled may be connected
in the other direction as well: its jobs of the two directions have different owners.

* A second link of the same process (``instance``) takes the new calls as soon as it has answered. The first one is
  closed when its calls have ended, or at once if the handshake of the second says that it replaces the first. If the
  second is lost before that, the first takes the new calls again: an agent that has two addresses of one router keeps
  its older link.
* A second link of another process, or of one that names none, is admitted only if the first does not answer within
  ``SIGN_OF_LIFE_S``. Otherwise it is refused: two agents have one uid.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator
from typing import Final, TypeVar

from pagent.errors import CallError, CallTimeoutError, LinkClosedError
from pagent.relay.agent import AgentKey, ConnectedAgent
from pagent.relay.changes import ChangeFeed, ChangeKind
from pagent.rpc.connection import Connection
from pagent.rpc.spool import SpoolOpener
from pagent.runtime.silence import SilenceLimit
from pagent.runtime.tasks import TaskOwner
from pagent.wire.closing import GOING_AWAY, POLICY_VIOLATION

K = TypeVar("K")

_log = logging.getLogger(__name__)

#: Seconds that the first link of a uid has to answer when another agent connects with that uid.
SIGN_OF_LIFE_S: Final = 2.0
#: Seconds that a second link of a process has to answer; after them it takes over without an answer.
ANSWER_S: Final = 0.5
#: Seconds that a replaced link is kept at least, in case its agent closes the link that replaced it.
_KEPT_S: Final = 1.0

#: Close codes of RFC 6455 section 7.4.1.
_NORMAL: Final = 1000
_REPLACED: Final = "replaced by a newer link"


class AgentTable:
    """All links to agents.

    :param tasks: owns the tasks of links.
    :param spool: for streams of agents without flow control.
    :param linger: seconds that jobs on agents of ours outlive the last link.
    :param feed: gets the changes of agents.
    :param joined: called with each agent that is admitted.
    :param moved: called with each link that takes the new calls of its agent from now on.
    :param left: called with each agent whose link is lost.
    """

    def __init__(
        self,
        tasks: TaskOwner,
        spool: SpoolOpener,
        linger: float,
        feed: ChangeFeed,
        *,
        joined: Callable[[ConnectedAgent], None],
        moved: Callable[[ConnectedAgent], None],
        left: Callable[[ConnectedAgent], None],
    ) -> None:
        # For life.
        self._tasks = tasks
        self._spool = spool
        self._linger = linger
        self._feed = feed
        self._joined = joined
        self._moved = moved
        self._left = left
        # While running.
        self._by_connection: dict[str, ConnectedAgent] = {}
        self._by_key: dict[AgentKey, list[ConnectedAgent]] = {}  # in the order of their coming
        self._by_uid: dict[str, list[ConnectedAgent]] = {}
        self._undecided: set[ConnectedAgent] = set()  # links that may be admitted later
        self._conflicts: dict[AgentKey, list[ConnectedAgent]] = {}  # links that wait for a sign of life of the first
        self._waiting: dict[AgentKey, list[asyncio.Future[None]]] = {}

    # --- looking up -------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[ConnectedAgent]:
        return iter(list(self._by_connection.values()))

    def __len__(self) -> int:
        return len(self._by_connection)

    def get(self, connection_id: str) -> ConnectedAgent | None:
        """Return the agent with this connection id, or a newer link of the same process."""
        agent = self._by_connection.get(connection_id)
        if agent is not None and agent.retiring:
            return self.newest(agent.key)
        return agent

    def newest(self, key: AgentKey) -> ConnectedAgent | None:
        """Return the link that takes new calls."""
        links = self._by_key.get(key)
        return links[-1] if links else None

    def agent(self, uid: str) -> ConnectedAgent | None:
        """Return the link for new jobs of an agent, the one that it made if there is one."""
        links = [link for link in self._by_uid.get(uid, ()) if not link.retiring]
        return min(links, key=lambda link: link.dialled) if links else None

    def has(self, uid: str) -> bool:
        """Return whether an agent has a link."""
        return uid in self._by_uid

    def connections(self) -> list[Connection]:
        """Return the connections of all links, with those of links that may be admitted later."""
        return [agent.connection for agent in (*self._by_connection.values(), *self._undecided)]

    async def next_link(self, key: AgentKey, timeout: float) -> ConnectedAgent:
        """Wait until an agent has a link that is open. TimeoutError."""
        async with SilenceLimit(timeout):
            while (link := self.newest(key)) is None or not link.is_open:
                await self._joining(key)
            return link

    async def _joining(self, key: AgentKey) -> None:
        """Wait until a link of an agent is admitted. It may be lost again when this returns."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        try:
            await future
        finally:
            if (waiting := self._waiting.get(key)) is not None:
                waiting.remove(future)
                if not waiting:
                    del self._waiting[key]

    # --- links come and go ------------------------------------------------------------------------

    def admit_dialled(self, connection: Connection, dialled: Hashable) -> ConnectedAgent:
        """Take a link to an agent that was dialled; ``dialled`` says where, and with which token."""
        agent = self._agent(connection, dialled)
        self._join(agent)
        return agent

    def admit(self, connection: Connection) -> None:
        """Take a link that an agent has made, now or when an older one with its uid has been asked."""
        agent = self._agent(connection, None)
        self._undecided.add(agent)
        connection.on_lost.append(lambda _: self._undecided.discard(agent))
        self._admit(agent)

    def _admit(self, agent: ConnectedAgent) -> None:
        if not agent.is_open:  # a link that is lost takes over from none
            self._undecided.discard(agent)
            return
        first = self.newest(agent.key)
        if first is None:
            self._join(agent)
        elif first.instance is None or first.instance != agent.instance:
            self._settle(first, agent)
        elif agent.replaces == first.connection.uid:
            self._join(agent)
            self._retire(first, now=True)
        else:
            self._tasks.start(self._take_over(agent), name="let a second link of an agent take over")

    def _agent(self, connection: Connection, dialled: Hashable | None) -> ConnectedAgent:
        taken = self._by_connection
        return ConnectedAgent(
            connection, dialled, taken=taken, spool=self._spool, linger=self._linger, cordoned=self._cordoned
        )

    def _cordoned(self, agent: ConnectedAgent) -> None:
        self._feed.publish(ChangeKind.AGENT_CORDONED, agent.uid, link=agent)

    def _join(self, agent: ConnectedAgent) -> None:
        self._undecided.discard(agent)
        self._by_key.setdefault(agent.key, []).append(agent)
        self._by_connection[agent.connection_id] = agent
        known = self._by_uid.setdefault(agent.uid, [])
        known.append(agent)
        peer = agent.connection.link.peer_address
        _log.info("agent %r (%r) is connected from %s: link %s", agent.uid, agent.name, peer, agent.connection_id)
        if len(known) == 1:
            self._feed.publish(ChangeKind.AGENT_UP, agent.uid, link=agent)
        self._joined(agent)
        self._moved(agent)
        for future in self._waiting.get(agent.key, ()):
            if not future.done():
                future.set_result(None)
        agent.connection.on_lost.append(lambda error: self._lost(agent, error))
        if not agent.is_open:
            self._lost(agent, LinkClosedError())

    def _lost(self, agent: ConnectedAgent, error: LinkClosedError) -> None:
        if self._by_connection.pop(agent.connection_id, None) is None:
            return
        before = self.newest(agent.key)
        _remove(self._by_key, agent.key, agent)
        _remove(self._by_uid, agent.uid, agent)
        _log.info("agent %r: link %s: %s", agent.uid, agent.connection_id, error)
        agent.has_ended = error.code == GOING_AWAY
        newest = self.newest(agent.key)
        if newest is not None and newest is not before:
            newest.retiring = False
            self._moved(newest)
        self._left(agent)
        if not self.has(agent.uid):
            self._feed.publish(ChangeKind.AGENT_DOWN, agent.uid, link=agent)

    async def _take_over(self, agent: ConnectedAgent) -> None:
        """Admit a second link of a process once it has answered. An agent may close it before, and keep the first."""
        await _answers(agent, ANSWER_S)
        newest = self.newest(agent.key)
        if not agent.is_open:
            return
        if newest is None or newest.instance != agent.instance:
            self._admit(agent)
        elif newest.number > agent.number:
            agent.connection.link.close(_NORMAL, _REPLACED)
        else:
            self._join(agent)
            self._retire(newest, now=False)

    def _retire(self, link: ConnectedAgent, *, now: bool) -> None:
        """Give new calls to a newer link of the same process; close this one, ``now`` or when it has no calls."""
        link.retiring = True
        if now:
            link.connection.link.close(_NORMAL, _REPLACED)
        else:
            self._tasks.start(self._close_when_idle(link), name="close a link that was replaced")

    @staticmethod
    async def _close_when_idle(link: ConnectedAgent) -> None:
        await asyncio.sleep(_KEPT_S)
        await link.calls_ended()
        if link.retiring:
            await link.connection.close(_NORMAL, _REPLACED)

    # --- two agents with one uid ------------------------------------------------------------------

    def _settle(self, first: ConnectedAgent, second: ConnectedAgent) -> None:
        if (waiting := self._conflicts.get(second.key)) is not None:
            waiting.append(second)
            return
        self._conflicts[second.key] = [second]
        self._tasks.start(self._settled(first), name="ask an agent for a sign of life")

    async def _settled(self, first: ConnectedAgent) -> None:
        lives = await _answers(first, SIGN_OF_LIFE_S)
        waiting = self._conflicts.pop(first.key)
        if lives:
            for second in waiting:
                self._refuse(second)
            return
        self._drop_process(first)
        for second in waiting:
            self._admit(second)

    def _drop_process(self, dead: ConnectedAgent) -> None:
        """Close all links of a process that does not answer."""
        error = LinkClosedError(1006, "another agent with its uid has come, and it does not answer")
        for link in [*self._by_key.get(dead.key, ())]:
            if link.instance == dead.instance:
                link.connection.link.abort(error.reason)
                self._lost(link, error)

    def _refuse(self, second: ConnectedAgent) -> None:
        if not second.is_open:
            return
        peer = second.connection.link.peer_address
        _log.warning(
            "agent.conflict: another agent with the uid %r is connected: %s refused (pagent help uid-conflict)",
            second.uid,
            peer,
        )
        self._feed.publish(ChangeKind.AGENT_CONFLICT, second.uid)
        second.connection.link.close(POLICY_VIOLATION, "another agent with this uid is connected")


def _remove(table: dict[K, list[ConnectedAgent]], key: K, agent: ConnectedAgent) -> None:
    links = table[key]
    links.remove(agent)
    if not links:
        del table[key]


async def _answers(agent: ConnectedAgent, timeout: float) -> bool:
    """Return whether an agent answers in time, be it with an error."""
    try:
        await agent.call("job_count_current_connection", timeout=timeout)
    except (CallTimeoutError, LinkClosedError):
        return False
    except CallError:
        return True
    return True
