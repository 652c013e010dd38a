"""Write log lines to stderr without ever blocking the agent.

The reader of stderr may stop reading, and then a write to it blocks (docs/contract.rst, "Shortage"). O_NONBLOCK is no
help: the flag belongs to the open file, which is shared with the parent and with jobs that forward their output. So a
daemon thread writes lines from a bounded queue, and lines that do not fit are dropped and counted. Peers, clients and
jobs can cause any number of lines, so the lines of each kind are bounded, too (`RepeatLimit`): those of every logger,
libraries included.

Any line may quote a peer. The formatters escape all characters that move a terminal's cursor or begin a new line.
Tokens are never logged.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

from pagent.errors import ConfigError
from pagent.log.formats import escape, line_formatter
from pagent.log.handler import ACCESS_LOG, AUDIT_LOG, PipeHandler

__all__ = [
    "ACCESS_LOG",
    "AUDIT_LOG",
    "DEFAULT_FORMAT",
    "DEFAULT_LEVEL",
    "LEVELS",
    "escape",
    "left_out",
    "set_level",
    "setup",
]

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
DEFAULT_LEVEL: Final = "info"
#: With this file's name logging finds the source line of a record, for the fields after it.
_SOURCE_FILE: Final = logging._srcfile
_SOURCE_FIELDS: Final = ("(pathname", "(filename", "(module", "(lineno", "(funcName")
DEFAULT_FORMAT: Final = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"


def setup(
    level: str = DEFAULT_LEVEL, fmt: str = DEFAULT_FORMAT, *, as_json: bool = False, fd: int | None = None
) -> PipeHandler | None:
    """Send all logging to ``fd`` (stderr) and return the handler; None if there is no stderr.

    ``level`` is a key of `LEVELS`, ``fmt`` a logging format string. Raises `ConfigError` if either is unusable.
    ``as_json``: each line is a JSON object, and ``fmt`` is not used.
    A second call replaces what the first one set up.
    """
    if level not in LEVELS:
        raise ConfigError(f"--log-level {level}: must be one of {', '.join(LEVELS)}")
    formatter = _json_formatter() if as_json else line_formatter(fmt)
    _look_up_only("" if as_json else fmt)
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, PipeHandler)]:
        root.removeHandler(old)
        old.close()
    set_level(level)
    logging.getLogger(AUDIT_LOG).setLevel(logging.INFO)
    # Without stderr, descriptor 2 may be a socket, so the number alone is not used.
    fd = _stderr_fd() if fd is None else fd
    if fd is None:
        root.addHandler(logging.NullHandler())
        return None
    handler = PipeHandler(fd)
    handler.setFormatter(formatter)
    root.addHandler(handler)
    return handler


def left_out() -> int:
    """Return how many lines were left out since the start."""
    return sum(handler.left_out for handler in logging.getLogger().handlers if isinstance(handler, PipeHandler))


def set_level(level: str) -> None:
    """Log lines of this level, a key of `LEVELS`, and above."""
    logging.getLogger().setLevel(LEVELS[level])


def _look_up_only(fmt: str) -> None:
    """Let records have the fields that a format names: thread, process and source line are looked up for each record
    (Python's logging HOWTO, "Optimization")."""
    logging.logThreads = "(thread" in fmt
    logging.logProcesses = "(process)" in fmt
    logging.logMultiprocessing = "(processName)" in fmt
    logging._srcfile = _SOURCE_FILE if any(field in fmt for field in _SOURCE_FIELDS) else None


def _json_formatter() -> logging.Formatter:
    from pagent.log.json_format import JsonFormatter

    return JsonFormatter()


def _stderr_fd() -> int | None:
    try:
        return sys.stderr.fileno() if sys.stderr is not None else None
    except (OSError, ValueError):
        return None
