"""The end of a foreground command: its work is done, or a signal arrives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from pagent.cli.terminal.standard_streams import say
from pagent.runtime.signals import end_signals

#: The exit code of a shell for a program that Ctrl-C has ended.
INTERRUPTED: Final = 130
_TERMINATED: Final = 143
_HUNG_UP: Final = 129


def _always() -> bool:
    return True


async def run_until_signalled(
    work: Callable[[asyncio.Event], Coroutine[Any, Any, int]], has_begun: Callable[[], bool] = _always
) -> int:
    """Run ``work(force)`` and return its exit code.

    The first SIGINT, SIGTERM or SIGHUP cancels the work, and the exit code is 0, or `INTERRUPTED` for SIGINT. The work
    may take its time to clean up in ``finally``. A second signal sets ``force``: the work then ends at once.

    :param has_begun: whether what the user wants has begun. Before that, no signal is an end that the user may take for
        a success: the exit code is 128 plus its number.
    """
    return await _Interruptible(work, lambda code: 0 if has_begun() else code, announces=True).run()


async def run_until_interrupted(work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run ``work()`` and return its exit code. A signal cancels the work; the exit code is then `INTERRUPTED`.

    A second signal ends the process at once.
    """
    return await _Interruptible(lambda force: work(), lambda code: INTERRUPTED, announces=False).run()


class _Interruptible:
    """Work that the first signal cancels.

    :param ended: returns the exit code after another signal than SIGINT; called with 128 plus the signal's number.
    """

    def __init__(
        self,
        work: Callable[[asyncio.Event], Coroutine[Any, Any, int]],
        ended: Callable[[int], int],
        *,
        announces: bool,
    ) -> None:
        # For life.
        self._work = work
        self._ended = ended
        self._announces = announces
        self._force = asyncio.Event()
        # While it runs.
        self._task: asyncio.Task[Any] | None = None
        # Once a signal has come.
        self._code: int | None = None

    async def run(self) -> int:
        self._task = asyncio.current_task()
        assert self._task is not None, "called in a coroutine"
        with end_signals(
            lambda: self._end(self._ended(_TERMINATED)),
            hangup=lambda: self._end(self._ended(_HUNG_UP)),
            interrupt=partial(self._end, INTERRUPTED),
        ):
            try:
                return await self._work(self._force)
            except asyncio.CancelledError:
                if self._code is None:
                    raise
                self._task.uncancel()
                return self._code

    def _end(self, code: int) -> None:
        if self._code is not None:
            self._force.set()
            if not self._announces:
                os._exit(self._code)
            return
        self._code = code
        assert self._task is not None, "signals are handled while the work runs"
        self._task.cancel()
        if self._announces:
            say("shutting down; press Ctrl-C again to force")
