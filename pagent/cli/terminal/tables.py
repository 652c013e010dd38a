"""Print tables, fields and JSON to standard output. Text of jobs and peers cannot control the terminal."""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from pagent.cli.terminal.standard_streams import output_columns
from pagent.cli.terminal.times import for_programs
from pagent.log import escape

_GAP: Final = "  "
_CUT: Final = "..."
#: The least width to which a column is cut. If that is not enough, columns are left out from the right.
_LEAST: Final = 8


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    text = json.dumps(for_programs(value), indent=2, ensure_ascii=False)
    click.echo(text.encode("utf-8", "surrogateescape"))


def print_infos(
    infos: Sequence[dict[str, Any]],
    heads: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[str]],
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Print the list of an agent or a router: as JSON, with ``quiet`` the uids alone, otherwise as a table."""
    if as_json:
        print_json(infos)
    elif quiet:
        for info in infos:
            click.echo(escape(info["uid"]))
    else:
        print_table(heads, map(row, infos))


def print_fields(fields: Mapping[str, str]) -> None:
    """Print names and values, one pair a line. Empty values are left out."""
    width = max(map(len, fields), default=0) + 1
    columns = output_columns()
    for name, value in fields.items():
        if value:
            click.echo("\n".join(hanging_lines(f"{name + ':':{width}} ", escape(value), columns)))


def hanging_lines(head: str, text: str, room: int | None) -> list[str]:
    """Return ``head`` and a text as lines of at most ``room`` columns, the further ones indented; None for one line."""
    if room is None or room < len(head) + _LEAST:
        return [head + text]
    return textwrap.wrap(text, room, initial_indent=head, subsequent_indent=" " * len(head)) or [head]


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table. On a terminal it is cut to the width of the terminal."""
    for line in table_lines(heads, rows, output_columns()):
        click.echo(line)


def table_lines(heads: Sequence[str], rows: Iterable[Sequence[str]], room: int | None) -> Iterator[str]:
    """Yield the lines of a table, cut to ``room`` columns; None for all of it."""
    lines = [tuple(heads), *(tuple(map(escape, row)) for row in rows)]
    widths = [max(_columns_of(line[index]) for line in lines) for index in range(len(heads))]
    if room is not None:
        widths = fitted(widths, room)
    for line in lines:
        cells = [_padded(cell, width) for cell, width in zip(line, widths, strict=False)]
        yield _GAP.join(cells).rstrip()


def fitted(widths: Sequence[int], room: int) -> list[int]:
    """Return the widths of the columns that fit: the widest ones are cut, then the last ones are left out."""
    left = list(widths)
    while sum(left) + len(_GAP) * (len(left) - 1) > room:
        widest = max(range(len(left)), key=left.__getitem__)
        if left[widest] > _LEAST:
            left[widest] -= 1
        elif len(left) > 1:
            left = list(widths[: len(left) - 1])
        else:
            return [max(room, 1)]
    return left


def _columns_of(text: str) -> int:
    """Return the number of columns that a terminal needs for a text."""
    if text.isascii():
        return len(text)
    return sum(_columns_of_one(char) for char in text)


def _columns_of_one(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _padded(text: str, width: int) -> str:
    columns = _columns_of(text)
    if columns > width:
        end = _CUT if width >= _LEAST else ""
        while text and _columns_of(text) + len(end) > width:
            text = text[:-1]
        text += end
        columns = _columns_of(text)
    return text + " " * (width - columns)
