"""Write log lines to stderr without ever blocking the agent.

The reader of stderr may stop reading, and then a write to it blocks (docs/contract.rst, "Shortage"). O_NONBLOCK is no
help: the flag belongs to the open file, which is shared with the parent and with jobs that forward their output. So a
daemon thread writes lines from a bounded queue, and lines that do not fit are dropped and counted. Peers, clients and
jobs can cause any number of lines, so the lines of each kind are bounded, too (`RepeatLimit`): those of every logger,
libraries included.

Any line may quote a peer. `LineFormatter` escapes all characters that move a terminal's cursor or begin a new line.
Tokens are never logged.
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
from pagent.limits import LOG_BURST, LOG_KINDS, LOG_LINE_MAX, LOG_QUEUE_MAX, LOG_REPEAT_S

#: Seconds that the exit waits until the last lines are taken.
LOG_FLUSH_TIMEOUT_S: Final = 1.0


LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
DEFAULT_LEVEL: Final = "info"
DEFAULT_FORMAT: Final = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"

#: The logger of the access log: its lines are JSON of their own, and each of them is wanted.
ACCESS_LOG: Final = "pagent.access"

_CUT: Final = b" ... (line cut)"


def setup(level: str = DEFAULT_LEVEL, fmt: str = DEFAULT_FORMAT, *, fd: int | None = None) -> PipeHandler | None:
    """Send all logging to ``fd`` (stderr) and return the handler; None if there is no stderr.

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
    set_level(level)
    # Without stderr, descriptor 2 may be a socket, so the number alone is not used.
    fd = _stderr_fd() if fd is None else fd
    if fd is None:
        root.addHandler(logging.NullHandler())
        return None
    handler = PipeHandler(fd)
    handler.setFormatter(formatter)
    root.addHandler(handler)
    return handler


def set_level(level: str) -> None:
    """Log lines of this level, a key of `LEVELS`, and above."""
    logging.getLogger().setLevel(LEVELS[level])


def escape(text: str) -> str:
    """Return ``text`` on one line, with control, line-breaking and text-direction characters as Python escapes."""
    return text.translate(_ESCAPES)


def _escapes() -> dict[int, str]:
    controls = [*range(0x20), *range(0x7F, 0xA0)]
    # Line and paragraph separators, and the marks that make a terminal reorder text.
    layout = [0x2028, 0x2029, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF]
    return {code: ascii(chr(code))[1:-1] for code in [*controls, *layout]}


_ESCAPES: Final = _escapes()


class LineFormatter(logging.Formatter):
    """Escapes the message; a traceback keeps its lines, each marked so that it is not taken for an entry."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = escape(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        # Another handler may have left its own form of the traceback.
        record.exc_text = None
        head, *rest = super().format(record).split("\n")
        return "\n".join([head, *(f"  | {escape(line)}" for line in rest)])


def _formatter(fmt: str) -> LineFormatter:
    """Return a formatter that was tried, because a format string may name a field that no record has."""
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
        self._writing = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        # Registered after logging's own shutdown and so run before it: that one would wait for flush and close in turn.
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == ACCESS_LOG:
            self._put(record.getMessage().encode())
            return
        # The operator has asked for debug lines, and needs each of them.
        held = 0 if record.levelno <= logging.DEBUG else self._admit(record)
        if held is None:
            return
        try:
            line = self.format(record)
        except Exception as exc:  # noqa: BLE001  a bad log call must not end what it reports on
            line = f"log: a line could not be formatted ({type(exc).__name__}) in {record.pathname}:{record.lineno}"
        if held:
            line += f" ({held} more like it since the last)"
        self._put(line.encode(errors="backslashreplace"))

    def _admit(self, record: logging.LogRecord) -> int | None:
        with self._changed:
            held = self._repeats.admit(record)
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
            lines.append(b"log: %d lines dropped because stderr was not read in time" % dropped)
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
            record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
            self._queue(self.format(record).encode(errors="backslashreplace"))
        self._held_back = self._repeats.holds

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


class RepeatLimit:
    """Bounds the lines of one kind: `LOG_BURST` at once, then one each `LOG_REPEAT_S`; the others are counted.

    The kind of a record is its logger, level and format string, which are constants of the program. What a peer sent is
    in the arguments, and makes no new kind. A text without arguments may be made at run time, so all such records of a
    logger and level are one kind.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: OrderedDict[tuple[str, int, str], _Kind] = OrderedDict()

    def admit(self, record: logging.LogRecord) -> int | None:
        """Return how many lines of this kind were left out since the last; None if this one is left out, too."""
        key = (record.name, record.levelno, record.msg if record.args and isinstance(record.msg, str) else "")
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(self._clock())
            if len(self._kinds) > LOG_KINDS:
                self._kinds.popitem(last=False)
        self._kinds.move_to_end(key)
        if not kind.take(self._clock()):
            kind.held += 1
            return None
        held, kind.held = kind.held, 0
        return held

    @property
    def holds(self) -> bool:
        """Whether lines were left out that no summary has reported yet."""
        return any(kind.held for kind in self._kinds.values())

    def summaries(self, *, final: bool = False) -> list[str]:
        """Return a line for each kind that may log again and left lines out; with ``final`` for each that did."""
        now = self._clock()
        lines = []
        for (name, _, text), kind in self._kinds.items():
            if kind.held and (final or kind.take(now)):
                lines.append(f"log: {kind.held} more lines of {name} were left out: {text or 'like those before'}")
                kind.held = 0
        return lines


class _Kind:
    """A token bucket, and the number of lines that were left out."""

    def __init__(self, now: float) -> None:
        self.held = 0
        self._tokens = float(LOG_BURST)
        self._at = now

    def take(self, now: float) -> bool:
        self._tokens = min(LOG_BURST, self._tokens + (now - self._at) / LOG_REPEAT_S)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
