"""The system's functions for processes that keeper, supervisors and children need."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import ctypes
import os
import sys

IS_LINUX = sys.platform == "linux"

# Options of prctl(2).
SET_NAME = 15
SET_CHILD_SUBREAPER = 36
NO_NEW_PRIVS = 38

ONE = ctypes.c_ulong(1)
_ZERO = ctypes.c_ulong(0)
_prctl = ctypes.CDLL(None, use_errno=True).prctl if IS_LINUX else None


def control_process(option: int, value: ctypes.c_ulong | ctypes.c_char_p) -> None:
    """Call prctl(2). OSError; nothing on other systems."""
    if _prctl is not None and _prctl(option, value, _ZERO, _ZERO, _ZERO) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def wake_on_exit() -> tuple[int, int]:
    """Return both ends of a pipe; the first is readable after a child has ended, from now on in this process."""
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    _signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, _ignore)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGCHLD,))
    return wake, waker


def _ignore(*_: object) -> None:
    """Handle SIGCHLD: without a handler no byte is written to the pipe."""


def start_time(pid: int | str) -> int:
    """Return field 22 of proc(5) of a process that is not reaped; 0 if it cannot be read: the agent reads it then."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:  # no descriptor is left, or this is another system
        return 0
    data = os.read(descriptor, 4096)
    os.close(descriptor)
    return int(data[data.rindex(b")") + 2 :].split()[19])
