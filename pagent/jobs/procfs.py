"""Processes on Linux: /proc and pidfds. The functions of ``system.System``; field numbers are those of proc(5)."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import signal as signals
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from pagent.jobs import sockets
from pagent.jobs.system import Process

_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_GET_CHILD_SUBREAPER: Final = 37
#: Of the flags of a process (include/linux/sched.h).
_PF_EXITING: Final = 0x4

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

#: Errors of a file of /proc whose process ends while it is read.
_GONE: Final = (FileNotFoundError, ProcessLookupError)

# --- orphans ----------------------------------------------------------------------------------------


@functools.cache
def _prctl() -> Callable[..., int]:
    call: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
    return call


def set_subreaper(wanted: bool) -> bool:
    """PR_SET_CHILD_SUBREAPER (prctl(2)): descendants that lose their parent become ours. False if refused."""
    value = ctypes.c_ulong(int(wanted))
    zero = ctypes.c_ulong(0)
    _is_subreaper.cache_clear()
    return _prctl()(_PR_SET_CHILD_SUBREAPER, value, zero, zero, zero) == 0


@functools.cache  # no other code of this process sets it
def _is_subreaper() -> bool:
    value = ctypes.c_int(0)
    return _prctl()(_PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0) == 0 and value.value == 1


@functools.cache
def _lists_children() -> bool:
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # CONFIG_PROC_CHILDREN


def has_subreapers() -> bool:
    return True


def adopts() -> bool:
    return _is_subreaper()


# --- the table --------------------------------------------------------------------------------------


@functools.cache
def boot_id() -> str:
    # Containers that share a kernel count pids for themselves.
    table = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text('ascii').strip()}/{table}"


@functools.cache
def machine_id() -> str:
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with suppress(OSError):
            if found := Path(path).read_text("ascii", "replace").strip():
                return found
    return os.uname().nodename


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, 4096)
        if len(data) < 2048:  # such a file gives all it has, or at least half a page
            return data
        parts = [data]
        while data:
            data = os.read(descriptor, 65536)
            parts.append(data)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _fields(pid: int) -> list[bytes] | None:
    """Return the fields of a process from field 3 on, None if there is none."""
    try:
        data = _read(f"/proc/{pid}/stat")
    except _GONE:
        return None
    # The name, field 2, may hold anything, also ") Z 1"; field 3 follows its last parenthesis.
    return data[data.rindex(b")") + 2 :].split()


def is_exiting(pid: int) -> bool:
    fields = _fields(pid)
    return fields is None or bool(int(fields[6]) & _PF_EXITING)


def stat(pid: int) -> Process | None:
    fields = _fields(pid)
    if fields is None:
        return None
    state = fields[0].decode("ascii")
    if state == "Z" and int(fields[17]) > 1:
        state = "S"  # only its first thread has ended
    return Process(
        pid=pid,
        parent=int(fields[1]),
        session=int(fields[3]),
        state=state,
        started=int(fields[19]),
        cpu_s=(int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / _TICKS_PER_S,
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def children(pid: int) -> list[int]:
    if not _lists_children():
        return [process.pid for process in all_processes() if process.parent == pid]
    found: list[int] = []
    with suppress(*_GONE):
        tasks = f"/proc/{pid}/task"
        # The folder has a link for each thread, besides its own two. Listing it takes five system calls.
        for thread in [pid] if os.stat(tasks).st_nlink == 3 else os.listdir(tasks):
            with suppress(*_GONE):
                found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def own_children() -> list[int]:
    # Orphans go to the first thread of a subreaper that is alive (find_new_reaper in kernel/exit.c).
    pid = os.getpid()
    if not _lists_children():
        return children(pid)
    return [int(child) for child in _read(f"/proc/{pid}/task/{pid}/children").split()]


def all_processes() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if name.isdecimal() and (process := stat(int(name))) is not None:
            yield process


def folder(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")
    except (*_GONE, PermissionError):
        return None


# --- signals ----------------------------------------------------------------------------------------


@functools.cache
def has_pidfd() -> bool:
    """pidfd_open(2) came with Linux 5.3; a seccomp filter may deny it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EPERM, errno.EACCES)
    return True


def send(key: tuple[int, float], signal: int) -> bool:
    try:
        return _send_by_descriptor(key, signal) if has_pidfd() else _send_by_number(key, signal)
    except (ProcessLookupError, PermissionError):
        return False
    except OSError as error:
        if error.errno == errno.EINVAL:  # the pid is that of a thread by now
            return False
        raise


def _send_by_descriptor(key: tuple[int, float], signal: int) -> bool:
    descriptor = os.pidfd_open(key[0])
    try:
        # Opened first and compared then: the process of the descriptor is not younger than the one that is found.
        if not _is(key):
            return False
        signals.pidfd_send_signal(descriptor, signal)
    finally:
        os.close(descriptor)
    return True


def _send_by_number(key: tuple[int, float], signal: int) -> bool:
    if not _is(key):
        return False
    os.kill(key[0], signal)
    return True


def _is(key: tuple[int, float]) -> bool:
    found = stat(key[0])
    return found is not None and found.key == key


# --- ports ------------------------------------------------------------------------------------------


def listening(pids: Iterable[int]) -> Iterator[tuple[str, int]]:
    found = {listener.holder: listener for listener in sockets.table()}
    for pid in pids:
        with suppress(PermissionError):  # a process of another user
            for inode in sockets.inodes(pid):
                if inode in found:
                    yield found[inode].address, found[inode].port
