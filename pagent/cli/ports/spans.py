"""Option values that are a length of time: ``90s``, ``10m``, ``2h30m``."""

from __future__ import annotations

from typing import Any

import click

from pagent.cli.terminal.times import parse_span


class SpanParam(click.ParamType[float]):
    """Converts a length of time to seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if (seconds := parse_span(value)) is None:
            self.fail(f"{value!r} is not a length of time such as 90s, 10m or 2h", param, ctx)
        return seconds
