"""Processes on any system, by psutil. The functions of ``system.System``, slower and with fewer guarantees."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil

from pagent.jobs.system import Process

_STATES = {psutil.STATUS_ZOMBIE: "Z", psutil.STATUS_DEAD: "X", psutil.STATUS_STOPPED: "T"}


def has_subreapers() -> bool:
    return False


def adopts() -> bool:
    return False


def boot_id() -> str:
    # Start times are absolute here and need no run of the system that they belong to.
    return ""


def machine_id() -> str:
    return platform.node()


def stat(pid: int) -> Process | None:
    try:
        return _row(psutil.Process(pid))
    except psutil.Error:
        return None


def is_exiting(pid: int) -> bool:
    process = stat(pid)
    return process is None or not process.alive


def _row(process: psutil.Process) -> Process:
    with process.oneshot():
        status = process.status()
        cpu_s, rss_bytes = 0.0, 0
        with suppress(psutil.Error):  # a zombie has no memory, that of another user's process is not visible
            times = process.cpu_times()
            cpu_s = times.user + times.system
            rss_bytes = process.memory_info().rss
        return Process(
            pid=process.pid,
            parent=process.ppid(),
            session=_session(process.pid),
            state=_STATES.get(status, "S"),
            started=process.create_time(),
            cpu_s=cpu_s,
            rss_bytes=rss_bytes,
        )


def _session(pid: int) -> int:
    if hasattr(os, "getsid"):
        with suppress(OSError):
            return os.getsid(pid)
    return 0


def children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []


def own_children() -> list[int]:
    return children(os.getpid())


def all_processes() -> Iterator[Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            yield _row(process)


def folder(pid: int) -> str | None:
    try:
        return psutil.Process(pid).cwd()
    except (psutil.Error, OSError):
        return None


def send(key: tuple[int, float], signal: int) -> bool:
    try:
        found = psutil.Process(key[0])
        if found.create_time() != key[1]:
            return False
        found.send_signal(signal)
    except psutil.Error:
        return False
    return True


def listening(pids: Iterable[int]) -> Iterator[tuple[str, int]]:
    for pid in pids:
        with suppress(psutil.Error):
            for connection in psutil.Process(pid).net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr:
                    yield connection.laddr.ip, connection.laddr.port
