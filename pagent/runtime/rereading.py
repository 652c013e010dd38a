"""Read the configuration again while the process runs: files are read in a thread, then taken over in the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from pagent.errors import ConfigError, StuckError
from pagent.limits import RELOAD_TIMEOUT_S
from pagent.runtime.tasks import TaskOwner
from pagent.runtime.threads import ThreadPool

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Rereading:
    """Reads with one thread, one reading after the other, until :meth:`close`."""

    def __init__(self) -> None:
        self._threads = ThreadPool("configuration", 1)
        self._tasks = TaskOwner("configuration")
        self._closed = False

    def start(self, read: Callable[[], T], take_over: Callable[[T], int]) -> None:
        """Call ``read`` in the thread, then ``take_over`` with what it returned.

        ``take_over`` returns how many tokens are accepted, for the log. ConfigError of ``read`` changes nothing and is
        one line in the log. Nothing is read once this is closed.
        """
        if not self._closed:
            self._tasks.start(self._read(read, take_over), name="read the configuration again")

    async def _read(self, read: Callable[[], T], take_over: Callable[[T], int]) -> None:
        try:
            found = await self._threads.run(read, limit_s=RELOAD_TIMEOUT_S)
        except (ConfigError, StuckError) as error:
            _log.error("the configuration is not read again, and nothing changes: %s", error)
            return
        _log.info("the configuration is read again; accepted tokens: %d", take_over(found))

    async def close(self) -> None:
        """Give up what is being read."""
        self._closed = True
        await self._tasks.close()
        await self._threads.close(0)
