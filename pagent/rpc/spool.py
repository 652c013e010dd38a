"""Keep messages of a peer without credit that a receiver does not take: in memory at first, then on disk.

First in, first out. The last records are in memory. Once they exceed SPOOL_MEMORY, all of them go to disk, after the
earlier ones: a job that is slow for a moment costs no disk work, and one that stays slow costs it in large pieces. The
files are in the job's sandbox and come from the opener. They have no name, so each goes with its descriptor as soon as
it has been read. The job's own threads work on them; the loop never waits for the disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Final, NamedTuple

from pagent.limits import (
    DISK_ANSWER_S,
    GIB,
    KIB,
    MIB,
    SPOOL_MEMORY,
    SPOOL_MEMORY_ALL,
    SPOOL_PENDING_MAX,
    SPOOL_WRITE_TIMEOUT_S,
)
from pagent.rpc.spool_files import SpoolFiles
from pagent.rpc.spool_records import Record, cost, record_of, value_of
from pagent.rpc.throttle import ReadThrottle
from pagent.runtime.memory import current_memory
from pagent.runtime.metrics import STATISTICS
from pagent.runtime.per_loop import PerLoop
from pagent.runtime.silence import SilenceLimit
from pagent.runtime.tasks import TaskOwner
from pagent.runtime.threads import ThreadPool, Threads

_log = logging.getLogger(__name__)

#: Bytes of a spool that are read at a time, and while memory is short.
SPOOL_READ: Final = MIB
SPOOL_READ_SHORT: Final = 64 * KIB
#: Threads for the spools of streams that belong to no job: they write to one disk.
_TEMPORARY_THREADS: Final = 2


def _ignore() -> None:
    """Do nothing when the disk fails."""


class SpoolOpener(NamedTuple):
    """The place of a spool's files, and the function that is notified of a failure.

    ``open`` is a blocking function that returns the descriptor of a new file. ``limit``: bytes that may be kept.
    ``threads`` do the disk work. ``failed`` is called if the disk fails the spool, before its stream ends.
    ``for_disk``: whether the receiver itself writes to that disk.
    """

    open: Callable[[], int]
    limit: int
    threads: Threads
    failed: Callable[[], None] = _ignore
    for_disk: bool = False


_TEMPORARY: Final = PerLoop(lambda: SpoolOpener(_open_temporary, GIB, ThreadPool("spool", _TEMPORARY_THREADS)))


def temporary_spool() -> SpoolOpener:
    """Return the opener for streams that belong to no job: files in the system's folder for temporary files."""
    return _TEMPORARY.current()


def _open_temporary() -> int:
    with tempfile.TemporaryFile(prefix="pagent-spool-") as file:
        return os.dup(file.fileno())


class Spool:
    """A queue of the values of stream messages.

    ``deliver(values, empty)`` is called with some of them after each :meth:`want`, before it returns if they are in
    memory; with ``empty`` the spool is used up and closed. ``fail(reason)`` is called once if the disk does not take or
    give the data, or the limit is reached. ``memory``: bytes beyond which they go to disk.
    """

    #: Bytes that all spools together have in memory, without those that are being written.
    in_memory_total: ClassVar[int] = 0

    def __init__(
        self,
        opener: SpoolOpener,
        deliver: Callable[[list[Any], bool], None],
        fail: Callable[[str], None],
        throttle: ReadThrottle,
        *,
        memory: int = SPOOL_MEMORY,
    ) -> None:
        # For life.
        self._opener = opener
        self._deliver = deliver
        self._fail = fail
        self._throttle = throttle
        self._memory = memory
        self._buffers = current_memory()
        self._files = SpoolFiles(opener.open)
        self._tasks = TaskOwner("spool")
        # For the throttle.
        self.pause_after = self.pause_rest_s = 0.0
        # The records.
        self._newest: deque[Record] = deque()  # in memory
        self._newest_bytes = 0
        self._writing_bytes = 0  # of the write under way
        self._on_disk = 0  # bytes of records in the files, or on their way there
        # The state of the work.
        self._wanted = False
        self._working = False
        self._closed = False

    @property
    def is_idle(self) -> bool:
        """Whether no disk work is under way."""
        return not self._tasks

    @property
    def is_open(self) -> bool:
        """Whether it has a file."""
        return self._files.is_open

    @property
    def disk_bytes(self) -> int:
        """Bytes of records in the files, or on their way there."""
        return self._on_disk

    def append(self, value: Any) -> None:
        """Keep the value of one message."""
        if self._closed:
            return
        record = record_of(value)
        size = cost(record)
        if self._on_disk + self._newest_bytes + size > self._opener.limit:
            self._end(f"the job does not take its data, and {self._opener.limit} bytes are spooled already")
            return
        self._newest.append(record)
        self._count(size)
        if self._is_ahead_of_disk:
            self._throttle.pause_for_disk(self, size)
        if self._must_write:
            self._work_on_disk()

    def want(self) -> None:
        """Deliver the next values, now or when they have been read."""
        self._wanted = True
        if self._on_disk or self._working:
            self._work_on_disk()
        elif self._newest and not self._closed:
            self._hand_over(self._take_newest(self._batch_bytes))

    def close(self) -> None:
        """Drop everything. The files are closed by the threads."""
        if self._closed:
            return
        self._closed = True
        self._newest.clear()
        self._count(-self._newest_bytes)
        self._throttle.caught_up(self)
        self._close_files()

    @property
    def _batch_bytes(self) -> int:
        """Bytes to deliver at a time."""
        return SPOOL_READ_SHORT if self._buffers.is_full else SPOOL_READ

    @property
    def _is_ahead_of_disk(self) -> bool:
        """Whether the bytes that arrived while the disk was busy make the link wait."""
        if self._buffers.is_full:
            return self._newest_bytes + self._writing_bytes > SPOOL_READ_SHORT
        return self._newest_bytes > SPOOL_PENDING_MAX

    @property
    def _must_write(self) -> bool:
        """Whether the records in memory have to go to disk."""
        short = self._buffers.is_full or Spool.in_memory_total > SPOOL_MEMORY_ALL
        return self._newest_bytes > self._memory or (self._newest_bytes > 0 and short)

    def _count(self, change: int) -> None:
        self._newest_bytes += change
        Spool.in_memory_total += change
        self._buffers.change(change)

    def _take_newest(self, most: int) -> list[Record]:
        """Return the oldest records in memory, at least one."""
        taken = []
        size = 0
        while self._newest and size < most:
            record = self._newest.popleft()
            size += cost(record)
            taken.append(record)
        self._count(-size)
        return taken

    def _work_on_disk(self) -> None:
        if not self._working and not self._closed:
            self._working = True
            self._tasks.start(self._work(), name="spool")

    async def _work(self) -> None:
        """Write while memory holds too many bytes, read while values are wanted."""
        try:
            while not self._closed:
                if self._must_write:
                    await self._write_newest()
                if self._wanted:
                    self._hand_over(await self._next_batch())
                elif not self._must_write:
                    break
        except TimeoutError:
            self._disk_failed("the disk is too slow for the data that came for the job")
        except OSError as error:
            self._opener.failed()
            self._disk_failed(f"spooling the stream's data failed: {error.strerror or error}")
        except asyncio.CancelledError:  # the loop is at its end
            self.close()
            raise
        finally:
            self._working = False

    async def _next_batch(self) -> list[Record]:
        if not self._on_disk:
            return self._take_newest(self._batch_bytes)
        records = await self._opener.threads.run(self._files.read, self._batch_bytes, limit_s=DISK_ANSWER_S)
        self._count_on_disk(-sum(map(cost, records)))
        return records

    async def _write_newest(self) -> None:
        size = self._newest_bytes
        records = self._take_newest(size)
        self._count_on_disk(size)
        self._buffers.change(size)
        writing = self._opener.threads.submit(self._files.write, records, limit_s=DISK_ANSWER_S)
        writing.add_done_callback(lambda _: self._buffers.change(-size))
        self._writing_bytes = size
        self._resume_link()  # as much again may wait in memory
        async with SilenceLimit(SPOOL_WRITE_TIMEOUT_S):
            await asyncio.shield(writing)
        self._writing_bytes = 0
        self._resume_link()

    def _count_on_disk(self, change: int) -> None:
        """Count bytes that are written to the files, or read from them if ``change`` is negative."""
        self._on_disk += change
        if not self._closed:
            STATISTICS.spooled += change

    def _resume_link(self) -> None:
        if not self._is_ahead_of_disk:
            self._throttle.caught_up(self)

    def _hand_over(self, records: list[Record]) -> None:
        if self._closed or not records:
            return
        self._wanted = False
        empty = not self._on_disk and not self._newest
        if empty:
            self._closed = True
            self._close_files()
        self._deliver([value_of(record) for record in records], empty)

    def _disk_failed(self, reason: str) -> None:
        if not self._closed:
            _log.warning("a stream is given up: %s", reason)
        self._end(reason)

    def _end(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._fail(reason)

    def _close_files(self) -> None:
        """Close the files in a thread, because a large one takes as long as freeing its blocks."""
        STATISTICS.spooled -= self._on_disk
        self._files.end()
        if self._on_disk or self._files.is_open:
            closing = self._opener.threads.submit(self._files.close, limit_s=DISK_ANSWER_S, always=True)
            closing.add_done_callback(self._closing_ended)

    def _closing_ended(self, closing: asyncio.Future[None]) -> None:
        if not closing.cancelled() and isinstance(
            closing.exception(), RuntimeError
        ):  # refused, because the threads have ended
            self._files.close()
