"""Write log lines in a thread, so that a reader of stderr that stops reading blocks nothing."""

from __future__ import annotations

import atexit
import logging
import os
import select
import threading
from typing import Final

from pagent.limits import LOG_LINE_MAX, LOG_QUEUE_MAX, LOG_REPEAT_S
from pagent.log.repeats import RepeatLimit

#: Seconds that the exit waits until the last lines are taken.
LOG_FLUSH_TIMEOUT_S: Final = 1.0

#: The logger of the access log: its lines are JSON of their own, and each of them is wanted.
ACCESS_LOG: Final = "pagent.access"
#: The logger of a router's audit log: the same, and its lines are logged whatever the level.
AUDIT_LOG: Final = "pagent.audit"

_CUT: Final = b" ... (line cut)"


class PipeHandler(logging.Handler):
    """Passes formatted lines to a thread that writes them to ``fd``, and never waits for it."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        # All below is shared with the thread, under this condition.
        self._changed = threading.Condition(threading.Lock())
        self._repeats = RepeatLimit()
        self._held_back = False
        self._lines: list[bytes] = []
        self._queued_bytes = 0
        self._dropped = 0
        #: Lines that were not written, because there were too many of their kind or the reader is too slow.
        self.left_out = 0
        self._writing = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        # Registered after logging's own shutdown and so run before it: that one would wait for flush and close in turn.
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name in (ACCESS_LOG, AUDIT_LOG):
            self._put(record.getMessage().encode())
            return
        # The operator has asked for debug lines, and needs each of them.
        held = 0 if record.levelno <= logging.DEBUG else self._admit(record)
        if held is None:
            return
        record.left_out = held
        try:
            line = self.format(record).encode(errors="backslashreplace")
        except Exception as exc:  # noqa: BLE001  a bad log call must not end what it reports on
            text = record.msg if isinstance(record.msg, str) else type(record.msg)  # its repr() can fail, too
            kind = f"{record.name}: {text!r:.200}"
            line = self._own_line(f"log: a line could not be formatted ({type(exc).__name__}) of {kind}")
        self._put(line)

    def _admit(self, record: logging.LogRecord) -> int | None:
        with self._changed:
            held = self._repeats.admit(record)
            self.left_out += held is None
            if held is None and not self._held_back:
                self._held_back = True
                self._changed.notify_all()  # the thread wakes up to report these lines later
            return held

    def flush(self) -> None:
        """Wait until all lines are written, at most `LOG_FLUSH_TIMEOUT_S`; not at all once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._busy, LOG_FLUSH_TIMEOUT_S)

    def close(self) -> None:
        """Flush and end the thread. One that hangs in a write is left: a daemon thread does not keep the process."""
        atexit.unregister(self.close)
        with self._changed:
            if not self._closed:
                self._queue_summaries(final=True)
                self._changed.notify_all()
        self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        super().close()

    @property
    def _pending(self) -> bool:
        return bool(self._lines or self._dropped)

    @property
    def _busy(self) -> bool:
        return self._pending or self._writing

    def _put(self, line: bytes) -> None:
        with self._changed:
            if not self._closed:
                self._queue(line)
                self._changed.notify_all()

    def _queue(self, line: bytes) -> None:
        if len(line) > LOG_LINE_MAX:
            line = line[: LOG_LINE_MAX - len(_CUT)] + _CUT
        if self._queued_bytes + len(line) > LOG_QUEUE_MAX:
            self._dropped += 1
            self.left_out += 1
            return
        self._lines.append(line)
        self._queued_bytes += len(line)

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while (chunk := self._take()) is not None:
            self._write(chunk)
            with self._changed:
                self._writing = False
                self._changed.notify_all()

    def _take(self) -> bytes | None:
        """Return all queued lines as one chunk; None once the handler is closed."""
        with self._changed:
            self._wait_for_lines()
            if not self._pending:
                return None
            lines, self._lines, self._queued_bytes = self._lines, [], 0
            dropped, self._dropped = self._dropped, 0
            self._writing = True
        if dropped:
            # What was dropped came after these lines: they had filled the queue.
            lines.append(self._own_line(f"log: {dropped} lines dropped because stderr was not read in time"))
        return b"\n".join([*lines, b""])

    def _wait_for_lines(self) -> None:
        """Wait until lines are queued or the handler is closed.

        Meanwhile queue summaries of lines that were left out.
        """
        while not (self._pending or self._closed):
            self._changed.wait(LOG_REPEAT_S if self._held_back else None)
            if self._held_back:
                self._queue_summaries()

    def _queue_summaries(self, *, final: bool = False) -> None:
        for text in self._repeats.summaries(final=final):
            self._queue(self._own_line(text))
        self._held_back = self._repeats.holds

    def _own_line(self, text: str) -> bytes:
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
        return self.format(record).encode(errors="backslashreplace")

    def _write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        try:
            while view:
                view = view[self._write_some(view) :]
        except OSError:
            # The reader is gone or the disk is full. There is no place to log this.
            return

    def _write_some(self, view: memoryview) -> int:
        try:
            return os.write(self._fd, view)
        except BlockingIOError:
            # Another process that has the same open file made it non-blocking.
            select.select([], [self._fd], [])
            return 0
