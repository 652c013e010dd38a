"""Read the configuration again while the process runs: files are read in a thread, then taken over in the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from pagent import log
from pagent.errors import ConfigError, StuckError
from pagent.limits import RELOAD_TIMEOUT_S
from pagent.runtime.tasks import TaskOwner
from pagent.runtime.threads import ThreadPool


class RereadSettings(Protocol):
    """The common interface of the settings of agents and routers."""

    @property
    def log_level(self) -> str | None:
        """The level of the log; None does not change it."""


S = TypeVar("S", bound=RereadSettings)
C = TypeVar("C")

_log = logging.getLogger(__name__)


class Rereading(Generic[S, C]):
    """Reads with one thread, one reading after the other, until :meth:`close`.

    :param load: returns the credentials that settings name; called in the thread.
    :param take_over: uses settings and credentials; returns how many tokens are accepted, for the log.
    """

    def __init__(self, load: Callable[[S], C], take_over: Callable[[S, C], int]) -> None:
        self._load = load
        self._take_over = take_over
        self._threads = ThreadPool("configuration", 1)
        self._tasks = TaskOwner("configuration")
        self._closed = False

    def start(self, read: Callable[[], S]) -> None:
        """Read settings and their credentials in the thread, then take them over.

        A file that cannot be read, or is not valid, changes nothing and is one line in the log. Nothing is read once
        this is closed.
        """
        if not self._closed:
            self._tasks.start(self._reread(read), name="read the configuration again")

    async def _reread(self, read: Callable[[], S]) -> None:
        try:
            settings, credentials = await self._threads.run(self._read, read, limit_s=RELOAD_TIMEOUT_S)
        except (ConfigError, StuckError) as error:
            _log.error("the configuration is not read again, and nothing changes: %s", error)
            return
        if settings.log_level is not None:
            log.set_level(settings.log_level)
        accepted = self._take_over(settings, credentials)
        _log.info("the configuration is read again; accepted tokens: %d", accepted)

    def _read(self, read: Callable[[], S]) -> tuple[S, C]:
        settings = read()
        return settings, self._load(settings)

    async def close(self) -> None:
        """Give up the reading that is under way."""
        self._closed = True
        await self._tasks.close()
        await self._threads.close(0)
