"""Option values that are a length of time: ``90s``, ``10m``, ``2h30m``."""

from __future__ import annotations

from typing import Any

import click

from pagent.cli.terminal.times import parse_span


class SpanParam(click.ParamType[float]):
    """Converts a length of time to seconds, which is more than nothing. ``most``: the longest, as it is written."""

    name = "time"

    def __init__(self, most: str) -> None:
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if (seconds := parse_span(value)) is None:
            self.fail(f"{value!r} is not a length of time such as 90s, 10m or 2h", param, ctx)
        if not 0 < seconds <= (parse_span(self._most) or 0):
            self.fail(f"{value!r} is not a time up to {self._most}", param, ctx)
        return seconds
