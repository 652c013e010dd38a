"""Start, pin and end processes, and measure their CPU time and memory. Linux only."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_END_TIMEOUT_S: Final = 15.0
#: The process-wide clock of run time as the scheduler counts it, in Linux's encoding of clock ids.
_CLOCK_SCHED: Final = 2
#: Cores of this process before it was pinned.
_CORES: Final = os.sched_getaffinity(0)


class Placing(enum.Enum):
    """Which process has a core of its own if there are fewer than three cores.

    ``OWN_CORE``: the measured process. Each message to it and from it wakes another core; the job and the generator
    share a core, and wake none for each other. ``ENDS_ON_TWO_CORES``: the generator. The job is on the core of the
    measured process, as both are on one host. The generator and the job wake each other's core also without a proxy, so
    latencies can be compared. ``ONE_CORE``: none, all processes are on one core. None waits for another core, so each
    handles many messages at once.
    """

    OWN_CORE = enum.auto()
    ENDS_ON_TWO_CORES = enum.auto()
    ONE_CORE = enum.auto()


class Layout(NamedTuple):
    """The cores of the measured process, the load generator and the job."""

    server: int
    generator: int
    job: int


def layout(placing: Placing) -> Layout:
    cores = sorted(_CORES)
    if placing is Placing.ONE_CORE or len(cores) == 1:
        return Layout(cores[0], cores[0], cores[0])
    if len(cores) > 2:
        return Layout(cores[0], cores[1], cores[2])
    return Layout(cores[0], cores[1], cores[0] if placing is Placing.ENDS_ON_TWO_CORES else cores[1])


def cpu_ns(pid: int) -> int:
    """Return the CPU time, user and system, of all present and past threads of a process, without its children."""
    return time.clock_gettime_ns((~pid << 3) | _CLOCK_SCHED)


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def pin(pid: int, core: int) -> None:
    """Pin all threads of a process; those that it starts later inherit it."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})


def allow_many_files() -> int:
    """Raise the soft limit on descriptors, also for processes started later, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def python() -> list[str]:
    """Return a command for Python without imports of its own, which starts fastest."""
    return [sys.executable, "-I", "-S"]


@contextlib.asynccontextmanager
async def running(
    args: Sequence[str],
    *,
    core: int,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    merge_stderr: bool = False,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process for the length of the block, in a session of its own so that Ctrl-C reaches the bench only.

    Its stdout is a pipe, with ``merge_stderr`` stderr goes there too.
    """
    process = await asyncio.create_subprocess_exec(
        *args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT if merge_stderr else None,
        env=None if env is None else {**os.environ, **env},
        cwd=cwd,
        start_new_session=True,
    )
    try:
        pin(process.pid, core)
        yield process
    finally:
        await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _END_TIMEOUT_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def first_line(process: asyncio.subprocess.Process) -> str:
    """Return the line that a process prints once it is ready. RuntimeError if it ends instead."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"process {process.pid} ended before it was ready")
    return line.decode()
