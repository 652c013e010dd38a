"""The end of a request: of its agent with its jobs, and then of its command."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Final

from pagent.config.router import PoolSettings
from pagent.errors import CALL_ERRORS, JOB_CALL_ERRORS
from pagent.job_states import NEW
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.engine import CleanupFailedError, Engine
from pagent.relay.pools.notes import BEGUN, DONE, END_NOTE, FAILURES_NOTE
from pagent.relay.pools.request import PoolRequest
from pagent.relay.pools.states import RequestState
from pagent.runtime.silence import SilenceLimit

_log = logging.getLogger(__name__)

#: The grace period of the jobs of an agent that is ended, and the seconds that the agent may take after it.
_GRACE_S: Final = 5.0
_END_S: Final = 15.0
#: The pauses before the end of a command is tried again, doubled each time up to the longest. An engine may be down for
#: minutes.
_PAUSE_S: Final = 2.0
_PAUSE_MAX_S: Final = 60.0
#: Seconds for which the end is tried again while the agent of the command is connected.
_CLEANUP_S: Final = 900.0


class RequestEnd:
    """Ends the command and the agent of a request. It may be repeated, also by another router."""

    def __init__(self, request: PoolRequest, pool: PoolSettings, directory: AgentDirectory, engine: Engine) -> None:
        self._request = request
        self._pool = pool
        self._directory = directory
        self._engine = engine

    async def run(self) -> None:
        """End the agent with its jobs, and then the command. The command's job stays if it keeps failures."""
        request = self._request
        has_run = request.state is not RequestState.REQUESTED or self._engine.state(request) not in (None, NEW)
        with suppress(*JOB_CALL_ERRORS):  # it is noted below at the latest
            await self._note_end(BEGUN)
        await self._end_agent()
        await self._end_command(has_run)
        if request.failures:
            await self._keep_end()
        if not request.failures:  # there were none, or clients have removed their jobs meanwhile
            await self._engine.discard(request)

    async def _keep_end(self) -> None:
        try:
            await self._note_end(DONE)
        except JOB_CALL_ERRORS as error:
            _log.warning("request %s: its end is not kept: %s", self._request.data.rid, error)

    async def _end_command(self, has_run: bool) -> None:
        """End the command, however long its agent is away. An engine out of reach is given up in the end."""
        request = self._request
        give_up, pause_s = time.monotonic() + _CLEANUP_S, _PAUSE_S
        while (reason := await self._try_to_end(has_run)) is not None:
            key = self._directory.jobs.agent_of(request.command)
            if key is not None and self._directory.table.newest(key) is None:
                with suppress(TimeoutError):
                    await self._directory.table.next_link(key, _PAUSE_MAX_S)
            elif time.monotonic() > give_up:
                _log.warning("pool %r: request %s is not cleaned up: %s", request.data.pool, request.data.rid, reason)
                break
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _note_end(self, value: bytes) -> None:
        if self._request.failures:
            await self._engine.note(self._request, FAILURES_NOTE, self._request.encoded_failures())
        await self._engine.note(self._request, END_NOTE, value)

    async def _end_agent(self) -> None:
        """End the agent, if it is connected."""
        request, table = self._request, self._directory.table
        if (agent := table.agent(request.data.agent_uid)) is None:
            return
        try:
            await agent.call("host_end", _GRACE_S, timeout=_END_S)
        except CALL_ERRORS as error:
            _log.info("agent %r is not ended by a call: %s", agent.uid, error)
        with suppress(TimeoutError):
            async with SilenceLimit(_END_S):
                while table.agent(request.data.agent_uid) is not None:
                    request.changed.clear()
                    await request.changed.wait()

    async def _try_to_end(self, has_run: bool) -> str | None:
        """End the command and clean up. Return None, or why that is not possible now."""
        try:
            await self._engine.end(self._request)
            if has_run and self._pool.cleanup:
                await self._engine.clean_up(self._request, self._pool)
        except (*JOB_CALL_ERRORS, CleanupFailedError) as error:
            _log.info("request %s does not end yet: %s", self._request.data.rid, error)
            return str(error)
        return None
