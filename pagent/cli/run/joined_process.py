"""Join a process of a job to the input, output and terminal of this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

from pagent.cli.explained import with_name
from pagent.cli.failure import EXIT_FAILED, CommandFailed
from pagent.cli.terminal import standard_streams
from pagent.cli.terminal.local_terminal import following_size, raw_mode, window_size
from pagent.cli.terminal.screen_modes import ScreenModes
from pagent.cli.terminal.standard_input import input_chunks
from pagent.cli.terminal.standard_streams import say
from pagent.client import RemoteExec
from pagent.errors import CallError, LinkError
from pagent.runtime.tasks import TaskOwner

_SIGNALLED: Final = 128
_SIGPIPE: Final = 13
#: The byte before each piece of standard error.
_STDERR: Final = b"\2"


@dataclass(frozen=True)
class Joint:
    """The parts of this process that the other one gets: its input, its terminal."""

    has_input: bool
    has_terminal: bool

    @property
    def is_used(self) -> bool:
        """Whether the other process gets anything of this one."""
        return self.has_input or self.has_terminal

    @property
    def is_raw(self) -> bool:
        """Whether all keys go to the other process, Ctrl-C included."""
        return self.has_input and self.has_terminal

    def check(self) -> None:
        """Refuse to pass on input that is not of a terminal as that of a terminal. CommandFailed."""
        if self.has_input and self.has_terminal and not standard_streams.is_terminal(0):
            raise CommandFailed("the input device is not a TTY: use -i without -t")

    def environment(self, given: dict[str, str]) -> dict[str, str]:
        """Return the variables of the process."""
        return {"TERM": os.environ.get("TERM", "xterm"), **given} if self.has_terminal else given

    def options(self) -> dict[str, Any]:
        """Return the options of ``RemoteJob.exec`` and ``RemoteJob.run``."""
        size = window_size()
        return {"tty": self.has_terminal, "rows": size.lines, "cols": size.columns, "split": not self.has_terminal}


class JoinedProcess:
    """A process that is joined to this one.

    :param copied: is called with each piece of output: the number of the descriptor, and the bytes.
    """

    def __init__(
        self, process: RemoteExec, joint: Joint, copied: Callable[[int, bytes], None] = lambda fd, data: None
    ) -> None:
        self._process = process
        self._joint = joint
        self._copied = copied
        self._tasks = TaskOwner("input")
        #: The modes of the terminal that the process has changed.
        self.screen = ScreenModes()

    async def run(self) -> int:
        """Copy input and output until the process has ended; return its exit code.

        The terminal is restored at the end, whatever the reason is.
        """
        joint = self._joint
        code = -1
        with ExitStack() as stack:
            if joint.has_terminal:
                stack.callback(lambda: self._restore_screen(ended=code >= 0))
                if joint.is_raw:
                    stack.enter_context(raw_mode())
                stack.enter_context(following_size(self._resize))
            if joint.has_input:
                self._tasks.start(self._copy_input(), name="input")
            elif not joint.has_terminal:
                self._tasks.start(self._process.end_input(), name="end of input")
            try:
                if failure := await self._copy_output():
                    return failure  # the process is ended after the block of the caller
                code = await self._process.wait()
            finally:
                await self._tasks.close()
        return code if code >= 0 else _SIGNALLED - code

    def _restore_screen(self, *, ended: bool) -> None:
        """Restore the modes of the screen, unless the program has ended by itself: then it has left them on purpose."""
        if not ended and standard_streams.is_terminal(1) and (restoring := self.screen.restoring()):
            with suppress(OSError):
                os.write(1, restoring)

    def _resize(self, size: os.terminal_size) -> None:
        async def send() -> None:
            with suppress(CallError, LinkError):
                await self._process.resize(size.lines, size.columns)

        self._tasks.start(send(), name="resize")

    async def _copy_input(self) -> None:
        with suppress(CallError, LinkError):  # the process has ended, which its output reports
            with suppress(OSError):  # an input that cannot be read ends
                async for data in input_chunks():
                    await self._process.write(data)
            await self._process.end_input()

    async def _copy_output(self) -> int:
        """Write the output of the process; return the exit code if it cannot be written, otherwise 0."""
        async for data in self._process:
            has_terminal = self._joint.has_terminal
            fd, text = (1, data) if has_terminal else (2 if data.startswith(_STDERR) else 1, data[1:])
            if has_terminal:
                self.screen.feed(text)
            try:
                await standard_streams.write(fd, text)
            except BrokenPipeError:
                return _SIGNALLED + _SIGPIPE  # its reader wants no more
            except OSError as error:
                say(with_name(f"the output cannot be written: {error.strerror}"))
                return EXIT_FAILED
            self._copied(fd, text)
        return 0
