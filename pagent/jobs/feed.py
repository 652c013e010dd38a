"""Write the input of a process, and keep the bytes that it has not read yet."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pagent.jobs.terminal import end_of_input
from pagent.limits import EXEC_INPUT_MAX, MIB

#: Bytes of input that are written to a process in one loop iteration.
EXEC_TURN: Final = MIB


class Feed:
    """Writes to a non-blocking descriptor, which it closes in the end.

    ``terminal``: the descriptor is that of a terminal, whose end of input is something typed. ``blocked`` is called
    with True when more than EXEC_INPUT_MAX bytes wait for the process, and with False when it has taken them.
    """

    def __init__(self, descriptor: int, terminal: bool, blocked: Callable[[bool], None]) -> None:
        # For life.
        self._loop = asyncio.get_running_loop()
        self._terminal = terminal
        self._report_blocked = blocked
        # While the process may read.
        self._descriptor = descriptor
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._last: int | None = None
        self._writing = False
        self._blocked = False
        # The end.
        self._ended = False

    def write(self, data: bytes) -> None:
        """Write bytes for the process. Bytes after the end of its input are dropped."""
        if data and not self._ended:
            self._last = data[-1]
            self._put(data)

    def end(self) -> None:
        """End the input: close the pipe, or type a terminal's end-of-file character. A second call does nothing."""
        if self._ended:
            return
        self._ended = True
        if not self._writing:
            self._feed()

    def close(self) -> None:
        """Drop the bytes that were not written, and close the descriptor."""
        self._ended = True
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._descriptor >= 0:
            self._watch(False)
            os.close(self._descriptor)
            self._descriptor = -1
        self._set_blocked(False)

    def _put(self, data: bytes) -> None:
        self._waiting.append(memoryview(data))
        self._waiting_bytes += len(data)
        if self._writing:
            self._set_blocked(self._waiting_bytes > EXEC_INPUT_MAX)
        else:
            self._feed()

    def _feed(self) -> None:
        """Write as many bytes as the process takes, at most EXEC_TURN in one loop iteration."""
        if self._descriptor < 0:
            return
        turn = EXEC_TURN
        while self._waiting and turn > 0:
            data = self._waiting[0]
            try:
                done = os.write(self._descriptor, data[:turn])
            except BlockingIOError:
                break
            except OSError:  # it has closed its input
                self._waiting.clear()
                break
            turn -= done
            self._waiting_bytes -= done
            if done == len(data):
                self._waiting.popleft()
            else:
                self._waiting[0] = data[done:]
        self._fed()

    def _fed(self) -> None:
        if self._waiting:
            self._watch(True)
            self._set_blocked(self._waiting_bytes > EXEC_INPUT_MAX)
            return
        self._waiting_bytes = 0
        self._watch(False)
        if self._ended:
            self._finish()
        self._set_blocked(False)

    def _finish(self) -> None:
        """End the input after all bytes are written."""
        if not self._terminal:
            os.close(self._descriptor)
            self._descriptor = -1
            return
        self._terminal = False  # the end is typed once
        with suppress(OSError):  # no process has the terminal open any more
            if typed := end_of_input(self._descriptor, self._last):
                self._put(typed)

    def _watch(self, wanted: bool) -> None:
        if wanted is not self._writing:
            self._writing = wanted
            if wanted:
                self._loop.add_writer(self._descriptor, self._feed)
            else:
                self._loop.remove_writer(self._descriptor)

    def _set_blocked(self, blocked: bool) -> None:
        if blocked is not self._blocked:
            self._blocked = blocked
            self._report_blocked(blocked)
