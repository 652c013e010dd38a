"""Remember when a job has written its output, without reading it: the size of each output file at some times.

While a file grows, its size is noted once in `_TICK_S` seconds. inotify(7) reports the first write after a pause. A new
file counts as a growing one, so that a job that ends at once needs no watch. A file that does not grow costs nothing.
The content of a file at a mark was written before it, so nothing that was written after a time is missing from the last
mark before that time on.
"""

from __future__ import annotations

import asyncio
import os
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from pagent.jobs.inotify import FileWatches

#: Seconds between two readings of the size of a growing file.
_TICK_S: Final = 1.0
#: Marks of one file, 16 bytes each. When there are more, those of old output are thinned out, so that the time between
#: two of them is this part of their age: then about 400 are left of a job that has written for a day.
_MARKS_MAX: Final = 1024
_PART_OF_AGE: Final = 0.02


class OutputTimes:
    """The marks of one output file: its size at a time, in seconds of a clock that does not jump.

    ``size``: returns the number of bytes written, dropped ones included.
    """

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._last = 0
        self._times = array("d")
        self._sizes = array("q")

    def look(self) -> bool:
        """Note the present size; return whether it has changed."""
        size = self._size()
        if size == self._last:
            return False
        if size < self._last:  # the file was emptied: all that is in it is new
            del self._times[:], self._sizes[:]
        self._last = size
        self._times.append(time.monotonic())
        self._sizes.append(size)
        if len(self._times) > _MARKS_MAX:
            self._thin()
        return True

    def _thin(self) -> None:
        """Drop marks that are closer together than their age asks for, and more if that is not enough."""
        part = _PART_OF_AGE
        while len(self._times) > _MARKS_MAX // 2:
            times, now = self._times, self._times[-1]
            kept = [0]
            for at in range(1, len(times) - 1):
                if times[at + 1] - times[kept[-1]] > part * (now - times[at + 1]):
                    kept.append(at)
            kept.append(len(times) - 1)
            self._times = array("d", [times[at] for at in kept])
            self._sizes = array("q", [self._sizes[at] for at in kept])
            part *= 2

    def offset(self, since: float) -> int:
        """Return where the output begins that was written after a time, in seconds since the epoch."""
        self.look()
        before = bisect_right(self._times, since - time.time() + time.monotonic())
        return self._sizes[before - 1] if before else 0


class OutputClock:
    """Notes the times of all output files that it watches, on the event loop."""

    def __init__(self) -> None:
        # From the first file on.
        self._watches: FileWatches | None = None
        self._has_opened = False
        # The growing files; and the quiet ones by their watch, which reports their next write.
        self._growing: set[OutputTimes] = set()
        self._quiet: dict[int, OutputTimes] = {}
        self._descriptors: dict[OutputTimes, Callable[[], int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, size: Callable[[], int], descriptor: Callable[[], int]) -> OutputTimes:
        """Begin to note the times of a file. ``descriptor``: returns a new descriptor of it."""
        times = OutputTimes(size)
        self._descriptors[times] = descriptor
        self._grows(times)
        return times

    def forget(self, times: OutputTimes) -> None:
        """Stop noting the times of a file: no process writes to it any more."""
        if self._descriptors.pop(times, None) is None:
            return
        times.look()
        self._growing.discard(times)
        for watch in [watch for watch, each in self._quiet.items() if each is times]:
            del self._quiet[watch]
            assert self._watches is not None, "only watched files are quiet"
            self._watches.remove(watch)

    def close(self) -> None:
        """Stop noting times."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watches is not None:
            self._watches.close()
            self._watches = None

    def _wait_for_write(self, times: OutputTimes) -> None:
        """Have the next write reported. Where the system cannot, the file counts as a growing one."""
        watch = self._add_watch(self._descriptors[times])
        if watch >= 0:
            self._quiet[watch] = times
            self._growing.discard(times)
            times.look()
        else:
            self._grows(times)

    def _grows(self, times: OutputTimes) -> None:
        self._growing.add(times)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        for times in list(self._growing):
            if times.look():
                self._grows(times)
            else:
                self._wait_for_write(times)

    def _add_watch(self, descriptor: Callable[[], int]) -> int:
        """Return the watch of a file, which reports one write; -1 if the system has none."""
        if not self._has_opened:
            self._has_opened = True
            self._watches = FileWatches.open(self._written)
        if self._watches is None:
            return -1
        try:
            file = descriptor()
        except OSError:
            return -1
        try:
            return self._watches.add(file, once=True)
        finally:
            os.close(file)

    def _written(self, watch: int) -> None:
        times = self._quiet.pop(watch, None)
        if times is not None:
            times.look()
            self._grows(times)
