"""The value of ``--since``: a length of time, or a time, as docker and kubectl take them."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any, Final

import click

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_SPAN: Final = re.compile(rf"(?:{_PART.pattern})+")
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_NUMBER: Final = re.compile(r"\d{1,12}(?:\.\d+)?")


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
    if _SPAN.fullmatch(text):
        total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        return -total if math.isfinite(total) and total > 0 else -0.001
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        seconds = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return max(seconds, 0.0)
