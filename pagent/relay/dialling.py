"""Agents that the router dials: for a job that names an address, and those that the configuration lists."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from pagent.errors import CALL_ERRORS, DialError, DialTimeoutError, HandshakeRefusedError, LinkClosedError
from pagent.limits import HANDSHAKE_TIMEOUT_S
from pagent.net.dial import Address, Backoff, dial
from pagent.relay.agent import ConnectedAgent
from pagent.relay.jobs import JobTable
from pagent.relay.table import AgentTable
from pagent.rpc.connection import Connection
from pagent.runtime.tasks import TaskOwner, retrieve_error

_log = logging.getLogger(__name__)

#: Where to dial, and the token to present.
_Key = tuple[Address, str]

#: The longest pause between two attempts to dial an agent that the configuration lists.
_REDIAL_MAX_S: Final = 10.0


class AgentDialler:
    """Makes links to agents that listen.

    :param connect: makes the connection object of a link, given the token to present, and the id of the link that it
        replaces.
    :param polling_delay: seconds between two looks at whether an agent that was dialled for a job has jobs.
    """

    def __init__(
        self,
        table: AgentTable,
        jobs: JobTable,
        tasks: TaskOwner,
        connect: Callable[[str, str | None], Connection],
        polling_delay: float,
    ) -> None:
        # For life.
        self._table = table
        self._jobs = jobs
        self._tasks = tasks
        self._connect = connect
        self._polling_delay = polling_delay
        # While running.
        self._links: dict[_Key, asyncio.Future[ConnectedAgent]] = {}

    async def for_job(self, address: Address, token: str, hosts: list[str]) -> ConnectedAgent:
        """Return a link to the agent at an address, which is closed when it has neither jobs nor calls.

        ``hosts`` are the resolved addresses, the first of which is dialled. A link that was made with the same token is
        used again. DialError: DialTimeoutError, HandshakeRefusedError.
        """
        key = (address, token)
        made = self._links.get(key)
        if made is None or (made.done() and not _is_open(made)):
            made = self._links[key] = asyncio.get_running_loop().create_future()
            made.add_done_callback(retrieve_error)
            self._tasks.start(self._dial_for_job(key, hosts[0], made), name="dial an agent for a job")
        return await asyncio.shield(made)

    async def _dial_for_job(self, key: _Key, host: str, made: asyncio.Future[ConnectedAgent]) -> None:
        try:
            agent = await self._dial(*key, host)
        except DialError as error:
            made.set_exception(error)
            self._links.pop(key, None)
            return
        except BaseException:
            made.cancel()
            raise
        made.set_result(agent)
        await self._poll(key, agent)
        await self._redial(key, host, agent)

    async def _redial(self, key: _Key, host: str, agent: ConnectedAgent) -> None:
        """Dial an agent again whose link was lost, as long as it may have jobs that outlive the link."""
        backoff = Backoff(_REDIAL_MAX_S)
        while self._jobs.count(agent.key):
            await asyncio.sleep(backoff.delay(0.0))
            if key in self._links:
                return  # a new job has had it dialled
            try:
                agent = await self._dial(*key, host, replaces=agent.connection.uid)
            except DialError as error:
                _log.info("agent at %s, which has jobs: %s", key[0].authority, error)
                continue
            made = self._links[key] = asyncio.get_running_loop().create_future()
            made.set_result(agent)
            await self._poll(key, agent)

    async def _poll(self, key: _Key, agent: ConnectedAgent) -> None:
        """Close the link when the agent has no jobs of it, no call is under way, and no job was created meanwhile."""
        while agent.is_open:
            await asyncio.wait((agent.connection.link.closed,), timeout=self._polling_delay)
            created = agent.created
            with suppress(*CALL_ERRORS):
                count = await self._count(agent)
                if count == 0 and agent.created == created and not agent.has_calls:
                    self._links.pop(key, None)
                    self._jobs.discard_agent(agent.key)
                    await agent.connection.close(1000, "no jobs")
        if (made := self._links.get(key)) is not None and made.done() and not _is_open(made):
            del self._links[key]

    async def _count(self, agent: ConnectedAgent) -> Any:
        """Return how many jobs an agent has; an agent that is watched is not asked."""
        if agent.is_watched:
            return self._jobs.count(agent.key)
        return await agent.call("job_count_current_connection", timeout=HANDSHAKE_TIMEOUT_S)

    async def keep(self, address: Address, token: Callable[[], str]) -> None:
        """Keep a link to an agent: dial it again, with growing pauses, whenever the link is lost."""
        backoff = Backoff(_REDIAL_MAX_S)
        lost: str | None = None
        while True:
            lived = 0.0
            error: Exception
            try:
                agent = await self._dial(address, token(), replaces=lost)
                lost = agent.connection.uid
                began = time.monotonic()
                error = await asyncio.shield(agent.connection.link.closed)
                lived = time.monotonic() - began
            except DialError as failure:
                error = failure
            delay = backoff.delay(lived)
            _log.warning(
                "agent at %s: %s; dialling again in %.1f s (pagent help no-link)", address.authority, error, delay
            )
            await asyncio.sleep(delay)

    async def _dial(
        self, address: Address, token: str, host: str | None = None, *, replaces: str | None = None
    ) -> ConnectedAgent:
        connection = self._connect(token, replaces)
        await dial(address, connection, host=host)
        try:
            await connection.ready
        except LinkClosedError as error:
            if error.reason == NO_HANDSHAKE:
                raise DialTimeoutError(f"{address.authority}: {error.reason}") from None
            raise HandshakeRefusedError(f"{address.authority}: the agent ended the link: {error}") from None
        return self._table.admit_dialled(connection, (address, token))


def _is_open(made: asyncio.Future[ConnectedAgent]) -> bool:
    return not made.cancelled() and made.exception() is None and made.result().is_open


#: The reason of a link that was closed because the peer's handshake did not come.
NO_HANDSHAKE: Final = "no handshake in time"
