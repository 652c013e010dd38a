"""Decide whether a port may be a job's, by the user and the process that listen on it (``jobs.port_ownership``)."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Literal
from weakref import WeakValueDictionary

from pagent import limits
from pagent.errors import StuckError
from pagent.jobs import sockets
from pagent.jobs.ports import ReportError
from pagent.jobs.sockets import ListeningSocket
from pagent.runtime.threads import ThreadPool

_log = logging.getLogger(__name__)

#: Whether a process of the job has to listen on the job's ports (``jobs.port_ownership``).
Ownership = Literal["off", "warn", "enforce"]


class PortOwnership:
    """Decides whether a job may have a port, by the process that listens there.

    ``user``: user and group that jobs run as, None for the agent's. ``pids`` returns the living processes of a job; it
    is called in a thread, and may raise OSError. ``jobs``: the uids of the jobs that were started.
    """

    def __init__(
        self,
        policy: Ownership,
        user: tuple[int, int] | None,
        pids: Callable[[str], Sequence[int]],
        jobs: Collection[str],
        threads: ThreadPool,
    ) -> None:
        self._policy: Final = policy
        self._user: Final = user[0] if user is not None else os.geteuid() if hasattr(os, "geteuid") else 0
        self._pids: Final = pids
        self._jobs: Final = jobs
        self._threads: Final = threads
        # By job: one that asks again and again takes one thread at a time.
        self._checking: Final[WeakValueDictionary[str, asyncio.Lock]] = WeakValueDictionary()

    async def check(self, uid: str, port: int) -> None:
        """Raise ReportError if the job must not have the port.

        That is if its listener provably belongs to another job, or to a user other than the jobs' and root; with
        'enforce' also if it provably belongs to no process of the job's own tree.
        """
        others = [other for other in self._jobs if other != uid]
        lock = self._checking.setdefault(uid, asyncio.Lock())
        try:
            async with lock:
                own, reason = await self._threads.run(self._judge, uid, others, port, limit_s=limits.PORT_CHECK_S)
        except (OSError, StuckError) as error:
            _log.warning(
                "job %s: the listener of its port %d cannot be looked up: %s", uid, port, error, extra={"job": uid}
            )
            return
        if reason is not None:
            raise ReportError(f"bad port: {reason}")
        if own is not False or self._policy == "off":
            return
        if self._policy == "enforce":
            raise ReportError("bad port: no process of the job listens on it")
        _log.warning("job %s: no process of it listens on its port %d", uid, port)

    async def require(self, uid: str, port: int) -> None:
        """Raise ConnectionRefusedError if the job must not have the port, or has it no more."""
        try:
            await self.check(uid, port)
        except ReportError as error:
            raise ConnectionRefusedError(errno.ECONNREFUSED, str(error)) from None

    def _judge(self, uid: str, others: Iterable[str], port: int) -> tuple[bool | None, str | None]:
        """Return whether a process of the job listens (None: unknown), and why the job must not have the port."""
        found = sockets.listeners(port)
        if found is None:
            return None, None
        found = sockets.reached(found)
        own = self._held(uid, found)
        if own is True or not found:
            return own, None
        if all(listener.user not in (None, 0, self._user) for listener in found):
            return own, "a process of another user listens on it"
        if any(self._held(other, found) for other in others):
            return own, "another job listens on it"
        return own, None

    def _held(self, uid: str, found: Sequence[ListeningSocket]) -> bool | None:
        """Return whether a process of the job has one of these sockets. None if that cannot be known."""
        answers = {sockets.holds(pid, found) for pid in self._pids(uid)}
        return True if True in answers else None if None in answers else False
