"""Run a child process in the foreground: forward signals to it, and return its exit code."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Final

#: Set by agents of this package, not by older ones.
_PAGENT_VARIABLE: Final = "DA__PAGENT__JOB_UID"

#: Signals that are not forwarded: faults of this process, those that cannot be caught, and SIGCHLD.
_NOT_FORWARDED: Final = ("KILL", "STOP", "CHLD", "SEGV", "BUS", "FPE", "ILL", "TRAP", "SYS", "ABRT")


class ForegroundChild:
    """A running command in a process group of its own.

    A context manager. After the block, background processes of the command continue to run. After `end` or an
    exception, the rest of the process group is killed.

    The constructor blocks the signals of this process. Only `wait` receives them.
    """

    def __init__(self, args: Sequence[str]) -> None:
        """Start the command. OSError if the system cannot start it."""
        not_forwarded = {signal.Signals[f"SIG{name}"] for name in _NOT_FORWARDED}
        self._awaited = signal.valid_signals() - not_forwarded | {signal.SIGCHLD}
        #: None while it runs; 128 plus the number of the signal if a signal ended it.
        self.exit_code: int | None = None
        self._ended = False
        own_mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        self._guard, self._group = _start_guard()
        try:
            self._pid = os.posix_spawnp(
                args[0],
                list(args),
                _environment(),
                # A signal to the group of this process reaches the command once, through `wait`.
                setpgroup=self._group,
                setsigmask=own_mask,
                # The interpreter ignores these, and a program inherits ignored signals.
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        except OSError:
            os.close(self._guard)
            raise

    def __enter__(self) -> ForegroundChild:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and not self._ended:
            os.write(self._guard, _RELEASE)
        os.close(self._guard)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Forward signals until the command ends or the time has passed. Return whether the command has ended."""
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
        """End the process group of the command: TERM, then KILL after the grace period or the end of the command."""
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
    """Return the environment of this process without the locale that the interpreter adds to it (PEP 538)."""
    environment = dict(os.environ)
    if environment.get("LC_CTYPE") and os.path.exists("/proc/self/environ"):
        with open("/proc/self/environ", "rb") as file:
            if not any(item.startswith(b"LC_CTYPE=") for item in file.read().split(b"\0")):
                del environment["LC_CTYPE"]
    return environment


def _reached_whole_job(sender: int) -> bool:
    """Return whether the sender of a signal has sent it to the child as well.

    An agent of this package signals every process of a job. A second signal makes some programs end at once. The agent
    is in another session than its jobs.
    """
    if _PAGENT_VARIABLE not in os.environ or not sender:
        return False
    try:
        return os.getsid(sender) != os.getsid(0)
    except OSError:  # the sender has ended
        return False


# --- the guard --------------------------------------------------------------------------------------

_RELEASE: Final = b"."


def _start_guard() -> tuple[int, int]:
    """Start the guard. Return the descriptor to write `_RELEASE` to, and the guard's process group, for the command.

    The guard is a process that kills its group when this process is killed, because an older agent ends a job by
    killing the one process that it has started. The command is in that group from its start on. The guard blocks the
    same signals as this process, so only KILL can end it before the command.
    """
    reading, writing = os.pipe()
    if guard := os.fork():
        os.setpgid(guard, guard)  # it survives a KILL of the group of this process
        os.close(reading)
        return writing, guard
    try:
        os.close(writing)
        _guard(reading)
    finally:
        os._exit(0)


def _guard(reading: int) -> None:
    received = b""
    while piece := os.read(reading, 64):  # until the other process ends, which closes the pipe
        received += piece
    if received != _RELEASE:
        os.killpg(0, signal.SIGKILL)
