"""References for what no proxy does: processes instead of jobs, tar(1) instead of archives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import oneshot
from bench.plain import PlainWay
from bench.process import python
from bench.way import Fault, Lane, Sample, idle

_PIECE: Final = 1024 * 1024


class ProcessWay(PlainWay):
    """Processes that the load generator starts itself. ``pids`` has the generator's, because it pays for the starts."""

    def __init__(self) -> None:
        super().__init__("process", 0, (os.getpid(),), os.getpid())

    async def job_cycle(self) -> Lane:
        return _Spawn()

    async def first_byte_ns(self) -> int:
        """Return the time from the start of the server to its first byte, with the port read from its stdout."""
        began = time.perf_counter_ns()
        process = await asyncio.create_subprocess_exec(
            *python(), str(Path(oneshot.__file__)), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            port = int(await process.stdout.readline())
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readexactly(1)
            taken = time.perf_counter_ns() - began
            writer.close()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return taken


class _Spawn:
    """A process that does nothing, started and awaited: the least cost of a job."""

    def __init__(self) -> None:
        self.done: Callable[[], None] = idle
        self._task: asyncio.Task[None] | None = None

    def send(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        process = await asyncio.create_subprocess_exec("true", stdin=asyncio.subprocess.DEVNULL)
        await process.wait()
        self.done()


class TarWay(PlainWay):
    """tar(1), which unpacks and packs a folder of its own; the CPU time is that of its process."""

    def __init__(self) -> None:
        super().__init__("tar", 0, (os.getpid(),), os.getpid())
        self._folder = Path(tempfile.mkdtemp(prefix="pagent-bench-tar-"))

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def unpack(self, tar: bytes) -> Sample:
        return await asyncio.to_thread(self._run, ["tar", "-x", "-C", str(self._folder)], tar)

    async def pack(self) -> Sample:
        return await asyncio.to_thread(self._run, ["tar", "-c", "-C", str(self._folder), "."], b"")

    @staticmethod
    def _run(args: list[str], tar: bytes) -> Sample:
        """``cost``: CPU microseconds of the process."""
        began = time.perf_counter()
        process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin as stdin, process.stdout as stdout:
            stdin.write(tar)
            stdin.close()
            while stdout.read(_PIECE):
                pass
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise Fault(f"tar ended with {process.returncode}")
        seconds = time.perf_counter() - began
        return Sample(1, seconds, cost=(used.ru_utime + used.ru_stime) * 1e6)
