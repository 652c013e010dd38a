"""Starting a job's main process and hearing of its end, on any event loop.

Where there are pidfds (Linux) the process is made by ``subprocess`` and its end is a readable descriptor: the same on
every loop, made by vfork(2), and it stays a zombie of ours until we reap it, so that its pid is never another's
while we use it. uvloop's own way forks (seven times the CPU time for an agent of 100 MB) and hands on duplicates of
the output descriptors. Elsewhere it is ``loop.subprocess_exec``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from pagent.jobs.output import Output

if sys.platform == "linux":
    from pagent.jobs.procfs import has_pidfd as has_pidfd
else:

    def has_pidfd() -> bool:
        """Only Linux has them."""
        return False


#: Called with the pid as soon as there is one, and with the return code (subprocess: negative is a signal).
Started = Callable[[int], None]
Ended = Callable[[int], None]


async def spawn(
    args: Sequence[str], environment: Mapping[str, str], cwd: str, output: Output, started: Started, ended: Ended
) -> None:
    """Start a process in a session of its own, without input and without any other descriptor of ours.

    ``started`` is called before this returns, ``ended`` never before ``started``. OSError as the system gives it if
    there is no such program or nothing to start it with; then neither is called.
    """
    if has_pidfd():
        _spawn_watched(args, environment, cwd, output, started, ended)
    else:
        await _spawn_by_loop(args, environment, cwd, output, started, ended)


def _spawn_watched(
    args: Sequence[str], environment: Mapping[str, str], cwd: str, output: Output, started: Started, ended: Ended
) -> None:
    loop = asyncio.get_running_loop()
    process = subprocess.Popen(
        args,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output[0],
        stderr=output[1],
        start_new_session=True,
    )
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()  # just killed: it goes at once
        raise

    def readable() -> None:
        # Readable once its last thread has ended.
        if process.poll() is not None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            ended(process.returncode)

    loop.add_reader(descriptor, readable)
    started(process.pid)


class _Process(asyncio.SubprocessProtocol):
    def __init__(self, started: Started, ended: Ended) -> None:
        self._started = started
        self._ended = ended
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._started(self._transport.get_pid())

    def process_exited(self) -> None:
        assert self._transport is not None
        returncode = self._transport.get_returncode()
        assert returncode is not None, "the loop says that it has ended"
        self._transport.close()
        self._ended(returncode)


async def _spawn_by_loop(
    args: Sequence[str], environment: Mapping[str, str], cwd: str, output: Output, started: Started, ended: Ended
) -> None:
    await asyncio.get_running_loop().subprocess_exec(
        lambda: _Process(started, ended),
        *args,
        env=dict(environment),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output[0],
        stderr=output[1],
        start_new_session=True,
    )
