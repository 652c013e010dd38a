"""A process of a job that is connected to the agent by pipes or a pseudo-terminal: a second one, or the main process.

It belongs to the job's tree, so it ends with the job. Its pipes are non-blocking and driven by the loop (``feed``,
``drain``). If the reader of the output is slow, the process waits, as it does for a slow terminal.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pagent.jobs.drain import Drain
from pagent.jobs.feed import Feed
from pagent.jobs.terminal import open_terminal, set_size

#: First byte of each piece of split output: of stdout, or a terminal, and of stderr.
_OUT: Final = b"\1"
_ERR: Final = b"\2"


class ExecUser(Protocol):
    """The interface of the object that gets the output of the process."""

    def exec_output(self, data: bytes) -> None:
        """Take bytes that it wrote; with ``split`` the first of them is 1 (stdout, a terminal) or 2 (stderr)."""

    def exec_input(self, blocked: bool) -> None:
        """Note that the process has stopped reading its input (True), or reads it again (False)."""

    def exec_ended(self, code: int) -> None:
        """Take the exit code, or minus the number of the signal. Called once, after all output."""


class Program(Protocol):
    """The start and the end of the process, which is a further one of the job or its main process."""

    async def start(self, stdio: tuple[int, int, int], ended: Callable[[int], None], *, terminal: bool) -> None:
        """Start the process with these descriptors; ``ended`` is called with its exit code. OSError."""

    def kill(self) -> None:
        """End the process, if it still runs."""


class ExecProcess:
    """One process. :meth:`start` raises the errors of ``program``."""

    def __init__(self, program: Program, user: ExecUser) -> None:
        # For life.
        self._program = program
        self._user = user
        # The process.
        self._started = False
        self._exited: int | None = None
        # Its input and output.
        self._tty = False
        self._split = False
        self._terminal = -1
        self._input: Feed | None = None
        self._output: Drain | None = None

    @property
    def exit_code(self) -> int | None:
        """The exit code, or minus the number of the signal; None while the process runs."""
        return self._exited

    async def start(self, tty: bool, rows: int = 24, cols: int = 80, *, split: bool = False) -> None:
        """Start the process. Its output is delivered from then on."""
        if sys.platform == "win32":
            raise OSError(errno.ENOTSUP, "job_exec needs a Unix system")
        self._tty = tty
        self._split = split
        theirs = self._open_terminal(rows, cols) if tty else self._open_pipes()
        try:
            # A terminal is all three; otherwise the output is one, or two.
            stdio = theirs[0], theirs[1 if len(theirs) > 1 else 0], theirs[-1]
            await self._program.start(stdio, self._has_exited, terminal=tty)
            self._started = True
        except BaseException:
            self._close()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self.resume()
        if self._exited is not None:  # already; the user is ready in the next iteration
            asyncio.get_running_loop().call_soon(self._end_drain)

    def _open_terminal(self, rows: int, cols: int) -> list[int]:
        """Make a terminal; the process's descriptor of it is returned, to be closed by the caller."""
        ours, theirs = open_terminal(rows, cols)
        try:
            self._connect(os.dup(ours), [ours])
        except BaseException:
            os.close(ours)
            os.close(theirs)
            raise
        self._terminal = ours
        return [theirs]

    def _open_pipes(self) -> list[int]:
        """Make two pipes, or three; the process's ends are returned, to be closed by the caller."""
        theirs: list[int] = []
        ours: list[int] = []
        try:
            read, write = os.pipe()
            theirs.append(read)
            ours.append(write)
            for _ in range(2 if self._split else 1):
                read, write = os.pipe()
                ours.append(read)
                theirs.append(write)
            for descriptor in ours:
                os.set_blocking(descriptor, False)
        except BaseException:
            for descriptor in ours + theirs:
                os.close(descriptor)
            raise
        self._connect(ours[0], ours[1:])
        return theirs

    def _connect(self, into: int, out: Sequence[int]) -> None:
        self._input = Feed(into, self._tty, lambda blocked: self._user.exec_input(blocked))
        self._output = Drain(out, self._deliver, self._complete)

    # --- for the user -----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write input for the process; ``exec_input`` is called when it is more than the process takes."""
        if self._input is not None:
            self._input.write(data)

    def end_input(self) -> None:
        """End the input: the end of its pipe, or the end-of-file character of a terminal."""
        if self._input is not None:
            self._input.end()

    def resize(self, rows: int, cols: int) -> None:
        """Set the size of the terminal; nothing without one."""
        if self._terminal >= 0:
            set_size(self._terminal, rows, cols)

    def pause(self) -> None:
        """Pause the reading of its output."""
        if self._output is not None:
            self._output.pause()

    def resume(self) -> None:
        """Resume the reading of its output."""
        if self._output is not None:
            self._output.resume()

    def kill(self) -> None:
        """End it; the user is not called any more."""
        self._user = _NoUser()
        if self._exited is None and self._started:
            self._program.kill()
        self._close()

    # --- the loop ---------------------------------------------------------------------------------

    def _deliver(self, index: int, data: bytes) -> None:
        if self._split:
            data = (_ERR if index else _OUT) + data
        self._user.exec_output(data)

    def _complete(self) -> None:
        """Report the exit code, after all output of the process was delivered."""
        assert self._exited is not None
        user, self._user = self._user, _NoUser()
        self._close()
        user.exec_ended(self._exited)

    def _has_exited(self, returncode: int) -> None:
        self._exited = returncode
        if self._started:
            self._end_drain()

    def _end_drain(self) -> None:
        if self._output is not None:
            self._output.process_exited()

    def _close(self) -> None:
        feed, self._input = self._input, None
        drain, self._output = self._output, None
        self._terminal = -1
        if feed is not None:
            feed.close()
        if drain is not None:
            drain.close()


class _NoUser:
    """Discards the output of a process after its caller has cancelled the call."""

    def exec_output(self, data: bytes) -> None: ...

    def exec_input(self, blocked: bool) -> None: ...

    def exec_ended(self, code: int) -> None: ...
