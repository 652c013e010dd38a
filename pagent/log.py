"""The log: lines to stderr that can never stop the agent.

Whoever holds the other end of stderr may stop reading, and then a write to it blocks (spec agent.md, part 3
"Shortage"). O_NONBLOCK is no way out: the flag belongs to the open file, which is shared with the parent and with
jobs that forward their output. So lines go into a bounded queue that one daemon thread writes out, and what does
not fit is dropped and counted.

What a peer sent may stand in any line. It is made harmless in one place, `LineFormatter`: no character that moves a
terminal's cursor or starts a new line gets through. Tokens are never logged.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from pagent.errors import ConfigError
from pagent.limits import LOG_FLUSH_TIMEOUT_S, LOG_LINE_MAX, LOG_QUEUE_MAX, LOG_THROTTLE_KEYS

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
DEFAULT_LEVEL: Final = "info"
DEFAULT_FORMAT: Final = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"

_CUT: Final = b" ... (line cut)"


def setup(level: str = DEFAULT_LEVEL, fmt: str = DEFAULT_FORMAT, *, fd: int | None = None) -> PipeHandler | None:
    """Send all logging to ``fd`` (stderr) and return the handler; None where there is no stderr to write to.

    ``level`` is a key of `LEVELS`, ``fmt`` a logging format string. Raises `ConfigError` if either is unusable.
    A second call replaces what the first one set up.
    """
    if level not in LEVELS:
        raise ConfigError(f"--log-level {level}: must be one of {', '.join(LEVELS)}")
    formatter = _formatter(fmt)
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, PipeHandler)]:
        root.removeHandler(old)
        old.close()
    root.setLevel(LEVELS[level])
    # Without stderr, descriptor 2 may long be a socket's: never take the bare number for it.
    fd = _stderr_fd() if fd is None else fd
    if fd is None:
        root.addHandler(logging.NullHandler())
        return None
    handler = PipeHandler(fd)
    handler.setFormatter(formatter)
    root.addHandler(handler)
    return handler


def escape(text: str) -> str:
    """``text`` on one line: control, line-breaking and text-direction characters as Python escapes."""
    return text.translate(_ESCAPES)


def _escapes() -> dict[int, str]:
    controls = [*range(0x20), *range(0x7F, 0xA0)]
    # Line and paragraph separator; the marks that make a terminal show text in another order than it stands.
    layout = [0x2028, 0x2029, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF]
    return {code: ascii(chr(code))[1:-1] for code in [*controls, *layout]}


_ESCAPES: Final = _escapes()


class LineFormatter(logging.Formatter):
    """Escapes the message; a traceback keeps its lines, each marked so that it is not taken for an entry."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = escape(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        # Another handler may have left its own form of the traceback behind.
        record.exc_text = None
        head, *rest = super().format(record).split("\n")
        return "\n".join([head, *(f"  | {escape(line)}" for line in rest)])


def _formatter(fmt: str) -> LineFormatter:
    """A formatter that was tried: a format string may name a field that no record has."""
    try:
        formatter = LineFormatter(fmt)
        formatter.format(logging.makeLogRecord({"msg": ""}))
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(f"--log-format: not a usable logging format string: {exc}") from None
    return formatter


def _stderr_fd() -> int | None:
    try:
        return sys.stderr.fileno() if sys.stderr is not None else None
    except (OSError, ValueError):
        return None


class PipeHandler(logging.Handler):
    """Hands formatted lines to a thread that writes them to ``fd``; never waits for it."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        # All below is shared with the thread, under this condition.
        self._changed = threading.Condition(threading.Lock())
        self._lines: list[bytes] = []
        self._queued_bytes = 0
        self._dropped = 0
        self._writing = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        # Registered after logging's own shutdown and so run before it: that one would wait for flush and close in turn.
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as exc:  # noqa: BLE001  a bad log call must not end what it reports on
            line = f"a log line could not be made ({type(exc).__name__}) in {record.pathname}:{record.lineno}"
        self._put(line.encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Wait until all is written, for `LOG_FLUSH_TIMEOUT_S` at most; not at all once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._busy, LOG_FLUSH_TIMEOUT_S)

    def close(self) -> None:
        """Flush and end the thread; one that hangs in a write stays behind, as it does not keep the process."""
        atexit.unregister(self.close)
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
        if len(line) > LOG_LINE_MAX:
            line = line[: LOG_LINE_MAX - len(_CUT)] + _CUT
        with self._changed:
            if self._closed:
                return
            if self._queued_bytes + len(line) > LOG_QUEUE_MAX:
                self._dropped += 1
                return
            self._lines.append(line)
            self._queued_bytes += len(line)
            self._changed.notify_all()

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while (chunk := self._take()) is not None:
            self._write(chunk)
            with self._changed:
                self._writing = False
                self._changed.notify_all()

    def _take(self) -> bytes | None:
        """All that waits, as one chunk; None once the handler is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed)
            if not self._pending:
                return None
            lines, self._lines, self._queued_bytes = self._lines, [], 0
            dropped, self._dropped = self._dropped, 0
            self._writing = True
        if dropped:
            # What was dropped came after these lines: they had filled the queue.
            lines.append(b"%d lines dropped: nobody read the log in time" % dropped)
        return b"\n".join([*lines, b""])

    def _write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        try:
            while view:
                view = view[self._write_some(view) :]
        except OSError:
            # The reader is gone or the disk is full. The log is where one would say so.
            return

    def _write_some(self, view: memoryview) -> int:
        try:
            return os.write(self._fd, view)
        except BlockingIOError:
            # Somebody else who has the same open file made it non-blocking.
            select.select([], [self._fd], [])
            return 0


class Throttle:
    """One log line instead of a flood: a kind of line at most once per interval, with the number held back.

    A kind is whatever ``key`` the caller gives: a constant of the program, not a peer's text, of which there are
    endless. With an interval of ``math.inf`` a line comes once.
    """

    def __init__(
        self, logger: logging.Logger, interval_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._interval_s = interval_s
        self._clock = clock
        # By key, oldest first: when its line was last let through, and how many were held back since.
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def log(self, level: int, key: str, message: str, *args: object) -> bool:
        """Log ``message % args``, or count it. Says whether it was logged."""
        now = self._clock()
        last, held = self._seen.get(key, (None, 0))
        if last is not None and now - last < self._interval_s:
            self._seen[key] = (last, held + 1)
            return False
        self._seen[key] = (now, 0)
        self._seen.move_to_end(key)
        if len(self._seen) > LOG_THROTTLE_KEYS:
            self._seen.popitem(last=False)
        if held:
            message, args = message + " (%d more like it since the last)", (*args, held)
        self._logger.log(level, message, *args)
        return True
