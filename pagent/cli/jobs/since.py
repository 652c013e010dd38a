"""The value of ``--since``: a length of time, or a time, as docker and kubectl take them."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any, Final

import click

from pagent.cli.terminal.times import parse_span

_NUMBER: Final = re.compile(r"\d{1,12}(?:\.\d+)?")
#: The span of time zero: a time before now, however near.
_NOW: Final = -0.001


class SinceParam(click.ParamType[float]):
    """Converts to seconds since the epoch, or to minus the seconds before now, which the agent subtracts."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        seconds = seconds_of(value)
        if seconds is None:
            self.fail(f"{value!r} is neither a span such as 10m nor a time such as 2030-12-31T23:59:59Z", param, ctx)
        return seconds


def seconds_of(text: str) -> float | None:
    """Return the value of a text; None if it is none. ``10m`` is -600, a time is in seconds since the epoch."""
    if (span := parse_span(text)) is not None:
        return -span if math.isfinite(span) and span > 0 else _NOW
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        seconds = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return max(seconds, 0.0)
