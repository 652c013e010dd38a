"""The standard streams of this process: messages of the command, output of its job, and the abilities of a terminal."""

from __future__ import annotations

import io
import os
import select
import shutil
import sys
from contextlib import suppress
from typing import Any, Final, Literal

#: Seconds that a message waits for a slow reader of stderr.
_WRITABLE_WAIT_MS: Final = 500

_NAMES: Final = {1: "standard output", 2: "standard error"}
_BOLD_GREEN: Final = "\033[1;32m"
_RESET: Final = "\033[0m"


class _Cursor:
    """The cursor of the terminal, and the end of a line there."""

    #: Whether the job's output has left it within a line.
    in_line = False
    #: Whether the terminal is in raw mode, where a line needs a carriage return at its end.
    is_raw = False


def set_raw(raw: bool) -> None:
    """Note that the terminal is put in raw mode, or that this is over."""
    _Cursor.is_raw = raw


def say(text: str, *, strong: bool = False) -> None:
    """Print a message to stderr, without blocking on a reader that has stopped. ``strong``: in bold on a terminal."""
    if not (is_open("stderr") and _is_writable(2)):
        return
    terminal = is_terminal(2)
    line = f"pagent: {text}"
    if strong and has_colours(2):
        line = f"{_BOLD_GREEN}{line}{_RESET}"
    end = "\r\n" if terminal and _Cursor.is_raw else "\n"
    if terminal and _Cursor.in_line:
        line = f"{end}{line}"
    _Cursor.in_line = False
    with suppress(OSError):  # not sys.stderr: it buffers text that cannot be written, and fails again at exit
        os.write(2, f"{line}{end}".encode(errors="backslashreplace"))


def _is_writable(fd: int) -> bool:
    """Return whether a line can be written within `_WRITABLE_WAIT_MS`."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(_WRITABLE_WAIT_MS))


def is_open(name: Literal["stdout", "stderr"]) -> bool:
    """Return whether the stream was open at the start. If not, its number may belong to another file since."""
    return getattr(sys, name) is not None


def is_terminal(fd: int) -> bool:
    """Return whether a standard stream was open at the start, and is a terminal."""
    stream = (sys.stdin, sys.stdout, sys.stderr)[fd]
    return stream is not None and not stream.closed and stream.isatty()


def can_redraw(fd: int) -> bool:
    """Return whether a standard stream is a terminal on which text can be drawn over."""
    return is_terminal(fd) and os.environ.get("TERM") != "dumb"


def has_colours(fd: int) -> bool:
    """Return whether text on a standard stream may have colours (https://no-color.org)."""
    return can_redraw(fd) and not os.environ.get("NO_COLOR")


def output_columns() -> int | None:
    """Return the columns of standard output, None if it is no terminal: then nothing is cut."""
    return shutil.get_terminal_size().columns if is_terminal(1) else None


async def write(fd: int, data: bytes) -> None:
    """Write all of ``data`` in a thread, because a slow reader blocks the write. OSError."""
    # Imported here because no help text needs asyncio.
    from pagent.cli.terminal.daemon_thread import in_daemon_thread

    if data and is_terminal(fd):
        _Cursor.in_line = not data.endswith(b"\n")
    await in_daemon_thread(lambda: _write_all(fd, data), "output")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # another program that shares it has set O_NONBLOCK
            select.select([], [fd], [])
        except OSError as error:
            error.filename = _NAMES.get(fd)
            raise


class _StandardOutput(io.FileIO):
    """Standard output. Its errors name it, as those of files do.

    Bytes after an error are dropped: the interpreter would report the same ones again when it ends.
    """

    def __init__(self) -> None:
        super().__init__(1, "wb", closefd=False)
        self._has_failed = False

    def write(self, data: Any, /) -> int:
        if self._has_failed:
            return len(data)
        try:
            return super().write(data)
        except OSError as error:
            self._has_failed = True
            error.filename = _NAMES[1]
            raise


def name_standard_output() -> None:
    """Let the errors of ``sys.stdout`` name it. It is that of the interpreter, to which nothing was written yet."""
    if isinstance(before := sys.stdout, io.TextIOWrapper) and before.fileno() == 1:
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_StandardOutput()),
            encoding=before.encoding,
            errors=before.errors,
            line_buffering=before.line_buffering,
            write_through=before.write_through,
        )
