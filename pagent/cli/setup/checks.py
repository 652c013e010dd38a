"""Results of ``pagent doctor``: a check, its outcome, and advice."""

from __future__ import annotations

import enum
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import click

from pagent.cli.terminal.standard_streams import has_colours
from pagent.log import escape


class Level(enum.Enum):
    """How a check went: the values are printed, with their colours on a terminal."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


_COLOURS: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "red"}
#: Columns of the level.
_LEVEL: Final = 8


class Check(NamedTuple):
    """One check. ``advice`` is empty if the user has to change nothing."""

    name: str
    level: Level
    text: str
    advice: str = ""


def ok(name: str, text: str) -> Check:
    """Return a successful check."""
    return Check(name, Level.OK, text)


def warning(name: str, text: str, advice: str) -> Check:
    """Return a check that has found something which jobs can do without."""
    return Check(name, Level.WARNING, text, advice)


def failed(name: str, text: str, advice: str) -> Check:
    """Return a check that has found something which has to be mended."""
    return Check(name, Level.FAILED, text, advice)


def for_programs(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Return the checks as JSON can hold them."""
    return [
        {"check": each.name, "result": each.level.value, "text": each.text, "advice": each.advice} for each in checks
    ]


def print_checks(checks: Sequence[Check]) -> None:
    """Print each check, wrapped to the width of the terminal."""
    width = shutil.get_terminal_size().columns
    coloured = has_colours(1)
    for check in checks:
        first, *rest = _lines(check, width - _LEVEL - 1)
        level = f"{check.level.value:{_LEVEL}}"
        click.echo(f"{click.style(level, fg=_COLOURS[check.level]) if coloured else level} {first}")
        for line in rest:
            click.echo(f"{'':{_LEVEL}} {line}")


def _lines(check: Check, width: int) -> Iterator[str]:
    yield from click.wrap_text(escape(f"{check.name}: {check.text}"), max(width, 20)).splitlines()
    if check.advice:
        yield from click.wrap_text(
            escape(check.advice), max(width, 20), initial_indent="  ", subsequent_indent="  "
        ).splitlines()
