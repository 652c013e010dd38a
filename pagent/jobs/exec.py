"""A second process in a job's sandbox, with its input and output in our hands: pipes, or a pseudo-terminal.

It is of the job's tree: it ends with the job. Its pipes are non-blocking and driven by the loop; where the reader of
the output is slow the process waits, as it would for a slow terminal.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import struct
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from pagent.errors import JobInvalidStateError
from pagent.jobs.command import check_program
from pagent.jobs.model import Job, State
from pagent.jobs.process import has_pidfd
from pagent.jobs.tree import KILL, Forest
from pagent.limits import EXEC_INPUT_MAX, EXEC_READ, EXEC_TERMINAL_WAIT_S, EXIT_POLL_S

if sys.platform != "win32":
    import fcntl
    import termios

#: Enters the sandbox and becomes the program. posix_spawn knows no working folder, and is the one way to a
#: controlling terminal without running Python code in a forked child.
_ENTER: Final = 'cd "$0" && exec "$@"'

#: What Python ignores, and what an agent in the background of a script, or below nohup, may have to: nobody's terminal
#: could interrupt then.
_DEFAULT_SIGNALS: Final = [
    number
    for name in ("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGQUIT", "SIGTSTP", "SIGHUP")
    if (number := getattr(signal, name, None)) is not None
]

_RUNNING: Final = (State.PENDING, State.RUNNING)


class ExecUser(Protocol):
    """Who gets what the process writes."""

    def exec_output(self, data: bytes) -> None:
        """Bytes that it wrote; stdout and stderr are one."""

    def exec_input(self, blocked: bool) -> None:
        """Whether it has stopped to read its input."""

    def exec_ended(self, code: int) -> None:
        """Its exit code, or minus the number of the signal; called once, after all output."""


class Exec:
    """One process. OSError from :meth:`start` if there is no such program; JobInvalidStateError for an idle job."""

    def __init__(self, job: Job, forest: Forest, user: ExecUser) -> None:
        # For life.
        self._job = job
        self._forest = forest
        self._user = user
        self._loop = asyncio.get_running_loop()
        # The process.
        self._pid = 0
        self._exited: int | None = None
        self._pidfd = -1
        # Its input and output; the same descriptor for a terminal.
        self._tty = False
        self._in = -1
        self._out = -1
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._end_of_input = False
        self._blocked = False
        self._reading = False

    def start(
        self, args: Sequence[str], environment: Mapping[str, str], tty: bool, rows: int = 24, cols: int = 80
    ) -> None:
        if sys.platform == "win32":
            raise OSError(errno.ENOTSUP, "job_exec needs a Unix system")
        if self._job.state not in _RUNNING:
            raise JobInvalidStateError(f"job {self._job.uid!r} is {self._job.state.value}: it runs nothing to join")
        check_program(args[0], environment.get("PATH", os.defpath), str(self._job.sandbox.path))
        self._tty = tty
        theirs = self._open_terminal(rows, cols) if tty else self._open_pipes()
        try:
            with self._forest.spawning(self._job.uid):
                self._pid = self._spawn(args, environment, theirs)
                self._watch()
        except BaseException:
            self._close()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, self._has_exited)
        else:
            self._look_again()
        self.resume()

    def _watch(self) -> None:
        """OSError if no descriptor is left to look at it with; then it is gone again."""
        try:
            self._forest.born(self._job.uid, self._pid)
            if has_pidfd():
                self._pidfd = os.pidfd_open(self._pid)
        except OSError:
            os.kill(self._pid, KILL)
            os.waitpid(self._pid, 0)  # just killed: it goes at once
            self._forest.died(self._pid)
            raise

    def _open_terminal(self, rows: int, cols: int) -> list[int]:
        ours, theirs = os.openpty()
        self._in = self._out = ours
        os.set_blocking(ours, False)
        self.resize(rows, cols)
        return [theirs]

    def _open_pipes(self) -> list[int]:
        read, self._in = os.pipe()
        self._out, write = os.pipe()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        return [read, write]

    def _spawn(self, args: Sequence[str], environment: Mapping[str, str], theirs: list[int]) -> int:
        actions: list[tuple[Any, ...]]
        if self._tty:  # opened by the leader of a new session, it becomes its controlling terminal
            terminal = os.ttyname(theirs[0])
            actions = [(os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0), (os.POSIX_SPAWN_DUP2, 0, 1)]
        else:
            actions = [(os.POSIX_SPAWN_DUP2, theirs[0], 0), (os.POSIX_SPAWN_DUP2, theirs[1], 1)]
        actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
        command = ["/bin/sh", "-c", _ENTER, str(self._job.sandbox.path), *args]
        return os.posix_spawn(
            command[0],
            command,
            dict(environment),
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=_DEFAULT_SIGNALS,
        )

    # --- for the user -----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Input for the process; the user is told when it is more than the process takes."""
        if self._in < 0 or self._end_of_input:
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._feed()

    def end_input(self) -> None:
        """No more input: the end of its pipe, or what means it on a terminal."""
        if self._tty:
            self.write(b"\x04")
        self._end_of_input = True
        self._feed()

    def resize(self, rows: int, cols: int) -> None:
        """The size of the terminal; nothing without one."""
        if self._tty and self._out >= 0:
            fcntl.ioctl(self._out, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def pause(self) -> None:
        """Read no output for now."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._out)

    def resume(self) -> None:
        """Read its output (again)."""
        if not self._reading and self._out >= 0:
            self._reading = True
            self._loop.add_reader(self._out, self._readable)

    def kill(self) -> None:
        """End it with its process group; the user hears no more.

        Groups that it has made itself, as a shell does for its background jobs, end with the job.
        """
        self._user = _Nobody()
        if self._exited is None:  # not reaped: the number is its own
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, KILL)
        else:
            self._close()

    # --- the loop ---------------------------------------------------------------------------------

    def _feed(self) -> None:
        while self._waiting:
            data = self._waiting[0]
            try:
                done = os.write(self._in, data)
            except BlockingIOError:
                self._loop.add_writer(self._in, self._feed)
                self._set_blocked(self._waiting_bytes > EXEC_INPUT_MAX)
                return
            except OSError:  # it has closed its input
                self._waiting.clear()
                break
            self._waiting_bytes -= done
            if done == len(data):
                self._waiting.popleft()
            else:
                self._waiting[0] = data[done:]
        self._waiting_bytes = 0
        if self._in >= 0:
            self._loop.remove_writer(self._in)
            if self._end_of_input and not self._tty:
                os.close(self._in)
                self._in = -1
        self._set_blocked(False)

    def _set_blocked(self, blocked: bool) -> None:
        if blocked is not self._blocked:
            self._blocked = blocked
            self._user.exec_input(blocked)

    def _readable(self) -> None:
        try:
            data = os.read(self._out, EXEC_READ)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        if data:
            self._user.exec_output(data)
            return
        self._close()
        self._end_if_over()

    def _has_exited(self) -> None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            return
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        self._forest.died(self._pid)
        self._exited = os.waitstatus_to_exitcode(status)
        if self._tty and self._out >= 0 and not isinstance(self._user, _Nobody):
            # The kernel hands on what was written to a terminal a moment later, and EIO behind the last of it; never,
            # if its children keep the terminal open.
            self._loop.call_later(EXEC_TERMINAL_WAIT_S, self._finish)
            return
        self._finish()

    def _look_again(self) -> None:
        """Where no descriptor tells of the end."""
        self._has_exited()
        if self._exited is None:
            self._loop.call_later(EXIT_POLL_S, self._look_again)

    def _finish(self) -> None:
        # What it has written is still to be read; what its children still write is not waited for.
        self._drain()
        self._close()
        self._end_if_over()

    def _drain(self) -> None:
        # No more than is there now: its children may be writing for ever.
        left = _readable_bytes(self._out) if self._out >= 0 else 0
        while left > 0:
            try:
                data = os.read(self._out, min(left, EXEC_READ))
            except OSError:
                return
            if not data:
                return
            left -= len(data)
            self._user.exec_output(data)

    def _close(self) -> None:
        self.pause()
        for descriptor in {self._in, self._out} - {-1}:
            self._loop.remove_writer(descriptor)
            os.close(descriptor)
        self._in = self._out = -1

    def _end_if_over(self) -> None:
        if self._exited is not None and self._out < 0:
            user, self._user = self._user, _Nobody()
            user.exec_ended(self._exited)


def _readable_bytes(descriptor: int) -> int:
    count: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0]
    return count


class _Nobody:
    """The user of a process that nobody waits for any more."""

    def exec_output(self, data: bytes) -> None: ...

    def exec_input(self, blocked: bool) -> None: ...

    def exec_ended(self, code: int) -> None: ...
