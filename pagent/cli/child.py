"""A child process that this process stands for: its signals and its exit code are passed on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Final

#: Set by an agent of this package only, among those that await a port.
_OF_OURS: Final = "DA__PAGENT__JOB_UID"

#: Raised by a fault of the process itself, or not to be caught, or meant for us.
_NOT_PASSED_ON: Final = ("KILL", "STOP", "CHLD", "SEGV", "BUS", "FPE", "ILL", "TRAP", "SYS", "ABRT")


class Child:
    """A running command in a process group of its own.

    A context: after the block, background processes that the command has left go on. After `end` or an exception, what
    is left of the group is killed.

    From its construction on, the signals of this process are blocked and only `wait` takes them.
    """

    def __init__(self, args: Sequence[str]) -> None:
        """Start the command. OSError as the system gives it if that cannot be done."""
        not_passed_on = {signal.Signals[f"SIG{name}"] for name in _NOT_PASSED_ON}
        self._awaited = signal.valid_signals() - not_passed_on | {signal.SIGCHLD}
        #: Once it has ended: 128 plus the number of the signal if one ended it.
        self.exit_code: int | None = None
        self._ended = False
        own_mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        self._guard, self._group = _start_guard()
        try:
            self._pid = os.posix_spawnp(
                args[0],
                list(args),
                _environment(),
                # Signals to our group reach the command once, by us.
                setpgroup=self._group,
                setsigmask=own_mask,
                # The interpreter ignores these, and a program inherits what is ignored.
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        except OSError:
            os.close(self._guard)
            raise

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and not self._ended:
            os.write(self._guard, _LET_GO)
        os.close(self._guard)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Pass signals on until the command ends, or the time has passed. Return whether it has ended."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._reaped():
            if deadline is None:
                received = signal.sigwaitinfo(self._awaited)
            else:
                found = signal.sigtimedwait(self._awaited, max(0.0, deadline - time.monotonic()))
                if found is None:
                    return False
                received = found
            if received.si_signo != signal.SIGCHLD and not _reached_whole_job(received.si_pid):
                os.kill(self._pid, received.si_signo)
        return True

    def end(self, grace_s: float) -> None:
        """End the command's process group: TERM, and KILL after the grace or the end of the command."""
        self._ended = True
        if not self._reaped():
            os.killpg(self._group, signal.SIGTERM)
            self.wait(grace_s)

    def _reaped(self) -> bool:
        if self.exit_code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.exit_code = code if code >= 0 else 128 - code
        return self.exit_code is not None


def _environment() -> dict[str, str]:
    """Return our environment without the locale that the interpreter has added to it (PEP 538)."""
    environment = dict(os.environ)
    if environment.get("LC_CTYPE") and os.path.exists("/proc/self/environ"):
        with open("/proc/self/environ", "rb") as file:
            if not any(item.startswith(b"LC_CTYPE=") for item in file.read().split(b"\0")):
                del environment["LC_CTYPE"]
    return environment


def _reached_whole_job(sender: int) -> bool:
    """Return whether the sender of a signal has sent it to our child as well.

    An agent of this package signals every process of a job. A program may take a second signal
    as a wish to end at once. The agent is in another session than its jobs.
    """
    if _OF_OURS not in os.environ or not sender:
        return False
    try:
        return os.getsid(sender) != os.getsid(0)
    except OSError:  # it has ended
        return False


# --- the guard --------------------------------------------------------------------------------------

_LET_GO: Final = b"."


def _start_guard() -> tuple[int, int]:
    """Start the guard; return the descriptor that it gets `_LET_GO` from, and its process group, for the command.

    The guard is a process that kills its group when this process is killed: an older agent ends a job by killing the
    one process that it has started. The command is in that group from its first moment on. The guard has the signals
    blocked that this process has, so only KILL ends it with the command.
    """
    reading, writing = os.pipe()
    if guard := os.fork():
        os.setpgid(guard, guard)  # from here on it outlives a KILL of our group
        os.close(reading)
        return writing, guard
    try:
        os.close(writing)
        _guard(reading)
    finally:
        os._exit(0)


def _guard(reading: int) -> None:
    told = b""
    while piece := os.read(reading, 64):  # until the writing end is closed: this process has ended
        told += piece
    if told != _LET_GO:
        os.killpg(0, signal.SIGKILL)
