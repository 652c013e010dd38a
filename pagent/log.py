"""The log: lines to stderr that can never stop the agent.

Whoever holds the other end of stderr may stop reading, and then a write to it blocks (docs/contract.rst,
"Shortage"). O_NONBLOCK is no way out: the flag belongs to the open file, which is shared with the parent and with
jobs that forward their output. So lines go into a bounded queue that one daemon thread writes out, and what does
not fit is dropped and counted. Peers, clients and jobs can cause lines as often as they like, so the lines of each kind
are bounded, too (`RepeatLimit`): of every logger, those of libraries included.

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
    set_level(level)
    # Without stderr, descriptor 2 may long be a socket's: never take the bare number for it.
    fd = _stderr_fd() if fd is None else fd
    if fd is None:
        root.addHandler(logging.NullHandler())
        return None
    handler = PipeHandler(fd)
    handler.setFormatter(formatter)
    root.addHandler(handler)
    return handler


def set_level(level: str) -> None:
    """Log from this level on, a key of `LEVELS`."""
    logging.getLogger().setLevel(LEVELS[level])


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
        # Debugging is asked for by name, and wants each line.
        held = 0 if record.levelno <= logging.DEBUG else self._admit(record)
        if held is None:
            return
        try:
            line = self.format(record)
        except Exception as exc:  # noqa: BLE001  a bad log call must not end what it reports on
            line = f"a log line could not be made ({type(exc).__name__}) in {record.pathname}:{record.lineno}"
        if held:
            line += f" ({held} more like it since the last)"
        self._put(line.encode(errors="backslashreplace"))

    def _admit(self, record: logging.LogRecord) -> int | None:
        with self._changed:
            held = self._repeats.admit(record)
            if held is None and not self._held_back:
                self._held_back = True
                self._changed.notify_all()  # the thread waits no longer than until it can tell of it
            return held

    def flush(self) -> None:
        """Wait until all is written, for `LOG_FLUSH_TIMEOUT_S` at most; not at all once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._busy, LOG_FLUSH_TIMEOUT_S)

    def close(self) -> None:
        """Flush and end the thread; one that hangs in a write stays behind, as it does not keep the process."""
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
        """All that waits, as one chunk; None once the handler is closed."""
        with self._changed:
            self._wait_for_lines()
            if not self._pending:
                return None
            lines, self._lines, self._queued_bytes = self._lines, [], 0
            dropped, self._dropped = self._dropped, 0
            self._writing = True
        if dropped:
            # What was dropped came after these lines: they had filled the queue.
            lines.append(b"%d lines dropped: nobody read the log in time" % dropped)
        return b"\n".join([*lines, b""])

    def _wait_for_lines(self) -> None:
        """Wait until lines are there, or the handler is closed; tell of lines that were left out when it is time."""
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
            # The reader is gone or the disk is full. The log is where one would say so.
            return

    def _write_some(self, view: memoryview) -> int:
        try:
            return os.write(self._fd, view)
        except BlockingIOError:
            # Somebody else who has the same open file made it non-blocking.
            select.select([], [self._fd], [])
            return 0


class RepeatLimit:
    """Bounds the lines of one kind: `LOG_BURST` at once, then one each `LOG_REPEAT_S`; the others are counted.

    The kind of a record is its logger, level and format string: constants of the program. What a peer sent is in the
    arguments, and makes no new kind. A text without arguments may be made at run time, so all of a logger and level
    are one kind.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: OrderedDict[tuple[str, int, str], _Kind] = OrderedDict()

    def admit(self, record: logging.LogRecord) -> int | None:
        """Return how many lines of this kind were left out since the last one; None if this one is left out, too."""
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
        """Whether lines were left out that no line has told of yet."""
        return any(kind.held for kind in self._kinds.values())

    def summaries(self, *, final: bool = False) -> list[str]:
        """Return a line for each kind that may log again and left lines out; with ``final`` for each that did."""
        now = self._clock()
        lines = []
        for (name, _, text), kind in self._kinds.items():
            if kind.held and (final or kind.take(now)):
                lines.append(f"{kind.held} more lines of {name} were left out: {text or 'as those before'}")
                kind.held = 0
        return lines


class _Kind:
    """A token bucket, and the number of lines that it has held back."""

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
