"""``job_logs``: send a job's output while the job writes it (docs/contract.rst, "Jobs")."""

from __future__ import annotations

import asyncio
import os
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
        self, call: IncomingCall, job_uid: str, stream: str = "stdout", offset: int = 0, follow: bool = False
    ) -> Any:
        job = self._manager.get(job_uid, owner_of(call.connection))
        if not isinstance(stream, str) or stream not in _FILES:
            raise ValueError(f"stream must be stdout or stderr, not {stream!r:.40}")
        if type(offset) is not int or not 0 <= offset <= LOG_OFFSET_MAX:
            raise ValueError("offset must be a number of bytes, 0 or more")
        assert call.stream is not None
        end = await self._send(AsyncStream(call.stream), job, _FILES[stream], offset, follow)
        return {"offset": end, "state": job.state.value, "exit_code": job.exit_code}

    async def _send(self, out: AsyncStream, job: Job, name: str, offset: int, follow: bool) -> int:
        fd = await self._open(job, name, follow)
        if fd is None:
            return offset
        reading = DiskWork(self._threads.of(job), partial(os.close, fd))  # after a read that a cancel does not stop
        try:
            async with Changes(fd) as changes:
                with job.until_output_ends(changes.wake):
                    reader = LogReader(fd, job.outputs.get(name), offset, follow=follow)
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
    async def _open(job: Job, name: str, follow: bool) -> int | None:
        """Return a descriptor of the output file, None without one. With ``follow``, wait for the job's start."""
        changed = asyncio.Event()
        with job.watching(changed.set):
            while True:
                ended = job.state in _ENDED
                try:
                    return job.sandbox.open_log(name)
                except FileNotFoundError:
                    if not follow or ended:
                        return None
                await changed.wait()
                changed.clear()
