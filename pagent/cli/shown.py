"""A job's output, copied to this process's own as it comes."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from pagent.cli import terminal
from pagent.cli.terminal import say
from pagent.client import RemoteJob
from pagent.errors import CallError, LinkError
from pagent.runtime.tasks import TaskOwner

#: Seconds without a byte written after which a reader of our output is not waited for at the end.
_UNREAD_S: Final = 3.0
#: Seconds without a byte after which a program has said what it says at its start, and the most that it gets for that.
_QUIET_S: Final = 0.3
_QUIET_MOST_S: Final = 1.5

_OUTPUTS: Final[tuple[tuple[Literal["stdout", "stderr"], int], ...]] = (("stdout", 1), ("stderr", 2))


class Shown:
    """The outputs of the job. Begins to copy at once, in ``tasks``."""

    def __init__(self, job: RemoteJob, tasks: TaskOwner) -> None:
        # For life.
        self._job = job
        self._copies = [tasks.start(self._copy(name, fd), name=name) for name, fd in _OUTPUTS if terminal.has(name)]
        # While it copies.
        self._written = 0
        #: Whether output could not be written although somebody is there to read it.
        self.failed = False

    async def all(self) -> None:
        """Wait until the job has ended and all its output is written."""
        if self._copies:
            await asyncio.wait(self._copies)

    async def rest(self) -> None:
        """Wait for the same, but not for a reader that takes nothing."""
        pending = set(self._copies)
        before = -1
        while pending and self._written != before:
            before = self._written
            _, pending = await asyncio.wait(pending, timeout=_UNREAD_S)

    async def quiet(self) -> None:
        """Wait until the program pauses, so that what comes next is not lost among its first lines."""
        left = _QUIET_MOST_S
        before = -1
        while self._written != before and left > 0:
            before = self._written
            left -= _QUIET_S
            await asyncio.sleep(_QUIET_S)

    async def _copy(self, name: Literal["stdout", "stderr"], fd: int) -> None:
        try:
            async for chunk in self._job.logs(name, follow=True):
                await terminal.write(fd, chunk)
                self._written += len(chunk)
        except (CallError, LinkError, BrokenPipeError):
            return  # the job's own end tells what happened to the link; a reader that is gone needs nothing more
        except OSError as error:
            self.failed = True
            say(f"{name} cannot be written: {error.strerror}")
