"""Copy the output of a job to the output of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from pagent.cli.explained import with_name
from pagent.cli.terminal import standard_streams
from pagent.cli.terminal.standard_streams import say
from pagent.client import RemoteJob
from pagent.errors import CallError, LinkError
from pagent.runtime.tasks import TaskOwner

#: At the end, output that makes no progress for this time is given up: its reader has stopped.
_UNREAD_S: Final = 3.0
#: After its start, a program counts as quiet when it has written nothing for this time.
_QUIET_S: Final = 0.3
#: Seconds after which a program that keeps writing is no longer waited for.
_QUIET_MAX_S: Final = 1.5

_OUTPUTS: Final[tuple[tuple[Literal["stdout", "stderr"], int], ...]] = (("stdout", 1), ("stderr", 2))


class OutputCopy:
    """Copies standard output and standard error of a job, in tasks of ``tasks``. It starts at once.

    :param copied: is called with each piece: the number of the descriptor, and the bytes.
    """

    def __init__(
        self, job: RemoteJob, tasks: TaskOwner, copied: Callable[[int, bytes], None] = lambda fd, data: None
    ) -> None:
        # For life.
        self._job = job
        self._copied = copied
        self._copies = [
            tasks.start(self._copy(name, fd), name=name) for name, fd in _OUTPUTS if standard_streams.is_open(name)
        ]
        # While it copies.
        self._written = 0
        #: Whether output is missing because it could not be written, for example to a full disk.
        self.failed = False

    async def wait(self) -> None:
        """Wait until the job has ended and all of its output is written."""
        if self._copies:
            await asyncio.wait(self._copies)

    async def wait_while_read(self) -> None:
        """Wait until all output is written, or its reader has stopped reading."""
        pending = set(self._copies)
        before = -1
        while pending and self._written != before:
            before = self._written
            _, pending = await asyncio.wait(pending, timeout=_UNREAD_S)

    async def wait_until_quiet(self) -> None:
        """Wait until the program pauses, so that the next message is not lost among the program's first lines."""
        left = _QUIET_MAX_S
        before = -1
        while self._written != before and left > 0:
            before = self._written
            left -= _QUIET_S
            await asyncio.sleep(_QUIET_S)

    async def _copy(self, name: Literal["stdout", "stderr"], fd: int) -> None:
        try:
            async for chunk in self._job.logs(name, follow=True):
                await standard_streams.write(fd, chunk)
                self._written += len(chunk)
                self._copied(fd, chunk)
        except (CallError, LinkError, BrokenPipeError):
            return  # the end of the job reports a lost link; a closed pipe means that its reader wants no more
        except OSError as error:
            self.failed = True
            say(with_name(f"{name} cannot be written: {error.strerror}"))
