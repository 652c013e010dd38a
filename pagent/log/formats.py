"""The text form of log lines. Any line may quote a peer, so what moves a terminal's cursor is escaped."""

from __future__ import annotations

import logging
from typing import Final

from pagent.errors import ConfigError


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
        lines = "\n".join([head, *(f"  | {escape(line)}" for line in rest)])
        left_out = record.__dict__.get("left_out")
        return f"{lines} ({left_out} more like it since the last)" if left_out else lines


#: Fields that records have only if the format of the lines names them.
_LOOKED_UP: Final = {"thread": 0, "threadName": "", "process": 0, "processName": ""}


def line_formatter(fmt: str) -> LineFormatter:
    """Return a formatter that was tried, because a format string may name a field that no record has."""
    try:
        formatter = LineFormatter(fmt)
        formatter.format(logging.makeLogRecord({"msg": "", **_LOOKED_UP}))
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(f"--log-format: not a usable logging format string: {exc}") from None
    return formatter
