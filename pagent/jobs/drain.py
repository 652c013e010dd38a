"""Read the whole output of a process, with output of its children after its exit, as fast as the receiver takes it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Final

from pagent.jobs.system import EXIT_POLL_S
from pagent.limits import KIB

#: Bytes of output that are read at a time.
EXEC_READ: Final = 64 * KIB
#: Seconds of silence on all outputs of a process, after its exit, that count as their end: its children may keep them
#: open. Output that a pipeline passes on after the exit comes within milliseconds, or tenths of a second under load.
EXEC_QUIET_S: Final = 0.5


class Drain:
    """Reads non-blocking descriptors, which it closes in the end.

    The output is complete at the end of file of all descriptors; or, once the process has ended, after EXEC_QUIET_S in
    which none had a byte: a background process that keeps them open and is silent does not hold up the end. Nothing
    is decided while reading is paused. ``deliver`` is called with the index of the descriptor and the bytes,
    ``complete`` once, when the process has ended and its output is complete.
    """

    def __init__(
        self, descriptors: Sequence[int], deliver: Callable[[int, bytes], None], complete: Callable[[], None]
    ) -> None:
        # For life.
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._complete = complete
        # While there may be more to read.
        self._open = dict(zip(descriptors, range(len(descriptors)), strict=True))
        self._watched: set[int] = set()
        self._paused = True
        # The end.
        self._exited = False
        self._timer: asyncio.TimerHandle | None = None

    def pause(self) -> None:
        """Pause reading."""
        self._paused = True
        self._stop_timer()
        for descriptor in self._watched:
            self._loop.remove_reader(descriptor)
        self._watched.clear()

    def resume(self) -> None:
        """Start or resume reading."""
        if not self._paused:
            return
        self._paused = False
        self._watch()
        if self._exited:
            self._wait_for_quiet()

    def process_exited(self) -> None:
        """Note that the process has ended. Its output is still read to the end."""
        self._exited = True
        if not self._open:
            self._complete()
        elif not self._paused:
            self._watch()
            self._wait_for_quiet()

    def close(self) -> None:
        """Stop reading and close the descriptors; ``complete`` is not called."""
        self.pause()
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()

    # --- reading ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        for descriptor in self._open.keys() - self._watched:
            self._watched.add(descriptor)
            self._loop.add_reader(descriptor, self._read, descriptor)

    def _unwatch(self, descriptor: int) -> None:
        if descriptor in self._watched:
            self._watched.discard(descriptor)
            self._loop.remove_reader(descriptor)

    def _read(self, descriptor: int) -> bool:
        """Read once; return whether there was output."""
        if self._paused or descriptor not in self._open:
            return False
        try:
            data = os.read(descriptor, EXEC_READ)
        except BlockingIOError:
            return False
        except OSError:  # EIO: no process has the terminal open
            self._hung_up(descriptor)
            return False
        if not data:
            self._end(descriptor)
            return False
        if self._exited:
            self._wait_for_quiet()
        self._deliver(self._open[descriptor], data)
        return True

    def _hung_up(self, descriptor: int) -> None:
        """Stop reading a terminal that has hung up, which is always readable; a living process may open it again."""
        if self._exited:
            self._end(descriptor)
            return
        self._unwatch(descriptor)
        self._stop_timer()
        self._timer = self._loop.call_later(EXIT_POLL_S, self._watch)

    def _end(self, descriptor: int) -> None:
        self._unwatch(descriptor)
        del self._open[descriptor]
        os.close(descriptor)
        if not self._open:
            self._stop_timer()
            if self._exited:
                self._complete()

    # --- the end ----------------------------------------------------------------------------------

    def _wait_for_quiet(self) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(EXEC_QUIET_S, self.look_for_quiet)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look_for_quiet(self) -> None:
        """Complete the output of an ended process, unless there is more to read."""
        # A delayed loop calls timers before readers, so read once more.
        if any(self._read(descriptor) for descriptor in list(self._open)) or self._paused or not self._open:
            return
        self.close()
        self._complete()
