"""End all jobs of an agent that has ended: TERM, five seconds, KILL, as at the orderly end of an agent.

All descendants of the keeper are of jobs, those of killed supervisors included. Nothing else is signalled: each process
is named by its pid and its start time. Only Linux has subreapers, and /proc; elsewhere the next agent does it all.
"""

from __future__ import annotations

import os
import signal
import time

#: Without the modules themselves, which would be a sixth of the memory that is forked.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Passes of stopping newly forked processes, before all stopped ones are killed.
_FREEZE_PASSES = 32
#: Seconds from TERM to KILL: ``TERM_GRACE_S`` of ``pagent/limits.py``, whose import would take memory.
GRACE_S = 5.0
#: Seconds between two searches for processes that are left after a KILL.
_PAUSE_S = 0.05
_PAUSE_MAX_S = 1.0

#: pid and start time.
Key = tuple[int, int]


def end_descendants(wait: Callable[[float], bool], grace_s: float = GRACE_S) -> None:
    """End all descendants of this process; return when no child is left.

    ``wait`` waits at most the given number of seconds until a child has ended, reaps, and returns whether a child is
    left. A process that hangs in the kernel is waited for: as long as this process lives, the next agent finds
    it by this one.
    """
    if not os.path.isdir("/proc/self"):
        return
    _signal_all(descendants(os.getpid()), signal.SIGTERM)
    give_up = time.monotonic() + grace_s
    while (left_s := give_up - time.monotonic()) > 0:
        if not wait(left_s):
            return
    pause_s = _PAUSE_S
    while True:
        _kill_all()
        if not wait(pause_s):
            return
        pause_s = min(2 * pause_s, _PAUSE_MAX_S)


def _kill_all() -> None:
    """Kill all descendants, also those that fork faster than they can be listed: stop all of them first."""
    frozen: set[Key] = set()
    for _ in range(_FREEZE_PASSES):
        fresh = {key for key, _ in descendants(os.getpid())} - frozen
        if not fresh:
            break
        for key in fresh:
            _send(key, signal.SIGSTOP)
        frozen |= fresh
    for key in frozen:
        _send(key, signal.SIGKILL)


def _signal_all(found: Iterable[tuple[Key, bytes]], number: int) -> None:
    for key, state in found:
        _send(key, number)
        if state == b"T":  # a stopped process could not act on the signal
            _send(key, signal.SIGCONT)


def descendants(root: int) -> list[tuple[Key, bytes]]:
    """Return the living descendants of a process, each with its state. Supervisors are among them."""
    table: dict[int, list[tuple[Key, bytes]]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (row := _row(int(name))) is not None:
            parent, key, state = row
            table.setdefault(parent, []).append((key, state))
    found: list[tuple[Key, bytes]] = []
    queue = [root]
    while queue:
        for key, state in table.get(queue.pop(), ()):
            queue.append(key[0])
            if state not in (b"Z", b"X"):
                found.append((key, state))
    return found


def _row(pid: int) -> tuple[int, Key, bytes] | None:
    """Return the parent of a process, its key and its state; None if it has ended (proc(5))."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        data = os.read(descriptor, 4096)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    # The name, field 2, may hold anything; field 3 follows its last parenthesis.
    fields = data[data.rindex(b")") + 2 :].split()
    state = b"S" if fields[0] == b"Z" and int(fields[17]) > 1 else fields[0]  # only its first thread has ended
    return int(fields[1]), (pid, int(fields[19])), state


def _send(key: Key, number: int) -> None:
    """Signal this very process; nothing if it has ended."""
    try:
        descriptor = os.pidfd_open(key[0])
    except OSError:
        # It has ended; or this kernel has no such descriptors.
        if (row := _row(key[0])) is not None and row[1] == key:
            _kill(key[0], number)
        return
    try:
        # Opened first and compared then: the process of the descriptor is not younger than the one that is found.
        if (row := _row(key[0])) is not None and row[1] == key:
            signal.pidfd_send_signal(descriptor, number)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _kill(pid: int, number: int) -> None:
    try:  # noqa: SIM105 - contextlib's is in Python
        os.kill(pid, number)
    except OSError:
        pass
