"""Help texts on terminals of any width: lists of two columns are wrapped, and examples are left as they are."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

import click

#: The width below which names have lines of their own beside their explanations.
_NARROW: Final = 60
#: Columns of a name then, if the explanation is to begin in its line.
_NAME_MAX: Final = 6
#: A name or a number, and its explanation after two spaces; a line without a name continues one.
_ROW: Final = re.compile(r"( *\S+(?: \S+)*  +|   +)(?=\S)")


class HelpFormatter(click.HelpFormatter):
    """Writes what click's does, within the width."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write a list of two columns."""
        super().write_dl(list(rows), min(col_max, _NAME_MAX) if self.width < _NARROW else col_max, col_spacing)

    def write_text(self, text: str) -> None:
        """Write paragraphs. The lines of one that begins with ``\\b`` stay lines."""
        room = self.width - self.current_indent
        super().write_text("\n\n".join(_fitted(paragraph, room) for paragraph in text.split("\n\n")))


class HelpContext(click.Context):
    """A context whose help texts are written by `HelpFormatter`."""

    formatter_class = HelpFormatter


def with_help_pages(command: click.Command) -> click.Command:
    """Let a command, and the commands of a group, write their help texts by `HelpFormatter`."""
    command.context_class = HelpContext
    for part in command.commands.values() if isinstance(command, click.Group) else ():
        with_help_pages(part)
    return command


def _fitted(paragraph: str, room: int) -> str:
    mark, *lines = paragraph.split("\n")
    if mark.strip() != "\b" or lines[0].startswith("Example"):
        return paragraph
    return "\n".join([mark, *(part for line in lines for part in _wrapped(line, room))])


def _wrapped(line: str, room: int) -> Iterator[str]:
    if len(line) <= room:
        yield line
        return
    found = _ROW.match(line)
    head = found[0] if found is not None else ""
    yield from textwrap.wrap(line[len(head) :], room, initial_indent=head, subsequent_indent=" " * (len(head) or 2))
