"""``job_logs``: send a job's output while the job writes it (docs/contract.rst, "Jobs")."""

from __future__ import annotations

import asyncio
import math
import os
import time
from functools import partial
from typing import Any

from pagent.files.disk_work import DiskWork
from pagent.jobs.changes import Changes
from pagent.jobs.log_reader import LogReader
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job, State
from pagent.jobs.output import STDERR, STDOUT
from pagent.limits import LOG_OFFSET_MAX
from pagent.rpc.aio import AsyncStream
from pagent.rpc.calls import IncomingCall
from pagent.rpc.methods import istream
from pagent.service.disk import DiskThreads
from pagent.service.jobs import owner_of

_FILES = {"stdout": STDOUT, "stderr": STDERR}
_ENDED = (State.FINISHED, State.CLOSED)


class LogService:
    """Sends the output of jobs. A change of a file starts the next read."""

    def __init__(self, manager: JobManager, threads: DiskThreads) -> None:
        self._manager = manager
        self._threads = threads

    @istream
    async def job_logs(
        self,
        call: IncomingCall,
        job_uid: str,
        stream: str = "stdout",
        offset: int = 0,
        follow: bool = False,
        bounds: bool = False,
        since: float | None = None,
    ) -> Any:
        job = self._manager.get(job_uid, owner_of(call.connection))
        if not isinstance(stream, str) or stream not in _FILES:
            raise ValueError(f"stream must be stdout or stderr, not {stream!r:.40}")
        if type(offset) is not int or not 0 <= offset <= LOG_OFFSET_MAX:
            raise ValueError("offset must be a number of bytes, 0 or more")
        if since is not None:
            offset = max(offset, _written_since(job, _FILES[stream], since))
        assert call.stream is not None
        end = await self._send(AsyncStream(call.stream), job, _FILES[stream], offset, follow, bool(bounds))
        return {"offset": end, "state": job.state.value, "exit_code": job.exit_code}

    async def _send(self, out: AsyncStream, job: Job, name: str, offset: int, follow: bool, bounds: bool) -> int:
        fd = _opened(job, name)
        if fd is None and bounds:
            await out.send(_bounds(offset, None if follow else offset))
            bounds = False
        if fd is None and follow:
            fd = await _opened_after_start(job, name)
        if fd is None:
            return offset
        reading = DiskWork(self._threads.of(job), partial(os.close, fd))  # after a read that a cancel does not stop
        try:
            async with Changes(fd) as changes:
                with job.until_output_ends(changes.wake):
                    reader = LogReader(fd, job.outputs.get(name), offset, follow=follow)
                    if bounds:
                        at, end = await reading.run(reader.bounds)
                        await out.send(_bounds(at, None if follow else end))
                        if not follow:
                            return await self._copy_to(out, reading, reader, end)
                    return await self._copy(out, job, reading, reader, changes if follow else None)
        finally:
            await reading.end()

    @staticmethod
    async def _copy(out: AsyncStream, job: Job, reading: DiskWork, reader: LogReader, changes: Changes | None) -> int:
        while True:
            ended = job.output_ended  # before the read, which then gets all that was written before the end
            data = await reading.run(reader.read)
            if data:
                await out.send(data)
            elif changes is None or ended:
                return reader.offset
            else:
                await changes.next()

    @staticmethod
    async def _copy_to(out: AsyncStream, reading: DiskWork, reader: LogReader, end: int) -> int:
        """Send the present output up to ``end``."""
        while reader.offset < end and (data := await reading.run(reader.read)):
            if beyond := max(0, reader.offset - end):
                data = data[:-beyond]
            if data:
                await out.send(data)
        return end


def _written_since(job: Job, name: str, since: object) -> int:
    """Return where the output begins that was written after a time; a negative one is relative to now."""
    if isinstance(since, bool) or not isinstance(since, (int, float)) or not math.isfinite(since):
        raise ValueError("since must be a time in seconds")
    times = job.output_times.get(name)
    return 0 if times is None else times.offset(since if since >= 0 else time.time() + since)


def _bounds(offset: int, end: int | None) -> dict[str, int | None]:
    return {"offset": offset, "end": end}


def _opened(job: Job, name: str) -> int | None:
    """Return a descriptor of the output file; None without one."""
    try:
        return job.sandbox.open_log(name)
    except FileNotFoundError:
        return None


async def _opened_after_start(job: Job, name: str) -> int | None:
    """Return a descriptor of the output file as soon as there is one; None if the job ends without."""
    changed = asyncio.Event()
    with job.watching(changed.set):
        while True:
            ended = job.state in _ENDED
            if (fd := _opened(job, name)) is not None or ended:
                return fd
            await changed.wait()
            changed.clear()
