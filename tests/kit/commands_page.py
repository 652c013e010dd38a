"""``docs/reference.rst``, made from the commands: ``make pages`` generates it."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from inspect import cleandoc
from typing import Final

import click

from pagent import cli
from pagent.cli.commands import GROUPS
from pagent.cli.servers.options import AgentCommand

_HEAD: Final = """\
Command line reference
======================

Made from the commands of ``pagent/cli/`` by ``make pages``. A test keeps it equal to them.

``pagent help COMMAND`` prints the same text in a terminal. :doc:`commands` has what the commands have in common: how
they find an agent or a router, what may stand for JOB, and all exit codes.
"""

_KEYS: Final = "``pagent help {name}`` ends with all configuration keys: type, default and meaning of each."

#: Characters that reStructuredText gives a meaning.
_SPECIAL: Final = re.compile(r"([\\`*|]|_(?=\W|$))")
#: Title underlines of the sections: of a group of commands, a command, a command of a command.
_UNDERLINES: Final = "-~^"


def all_commands() -> Iterator[click.Context]:
    """Yield a context for each command and each command of a command, in the order of ``pagent --help``."""
    top = click.Context(cli.pagent, info_name="pagent", **cli.pagent.context_settings)
    for entries in GROUPS.values():
        for entry in entries:
            yield from _with_parts(_context(top, entry.name))


def _with_parts(found: click.Context) -> Iterator[click.Context]:
    yield found
    for name in found.command.list_commands(found) if isinstance(found.command, click.Group) else ():
        yield from _with_parts(_context(found, name))


def _context(parent: click.Context, name: str) -> click.Context:
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    assert command is not None, name
    return click.Context(command, info_name=name, parent=parent)


def paragraphs(command: click.Command) -> list[tuple[bool, str]]:
    """Return the paragraphs of a help text, each with whether its lines are kept as they are."""
    parts = [part for part in re.split(r"\n\s*\n", cleandoc(command.help or "")) if part.strip()]
    return [(part.startswith("\b"), part.removeprefix("\b").strip("\n")) for part in parts]


def examples(command: click.Command) -> list[str]:
    """Return the lines of the examples of a help text, without their comments."""
    for is_kept, text in paragraphs(command):
        title, _, lines = text.partition("\n")
        if is_kept and title.startswith("Example"):
            return [line.strip() for line in lines.splitlines() if not line.strip().startswith("#")]
    return []


def options_of(found: click.Context) -> list[tuple[str, str]]:
    """Return the names and the text of each option that the help lists, except --help."""
    records = [param.get_help_record(found) for param in found.command.params if isinstance(param, click.Option)]
    return [record for record in records if record is not None]


def page() -> str:
    """Return the whole page."""
    top = click.Context(cli.pagent, info_name="pagent", **cli.pagent.context_settings)
    parts = [_HEAD]
    for group, entries in GROUPS.items():
        parts.append(_title(group, 0))
        for entry in entries:
            for found in _with_parts(_context(top, entry.name)):
                parts += _section(found)
    return "\n".join(parts)


def _section(found: click.Context) -> Iterator[str]:
    path = found.command_path
    yield f".. _{path.replace(' ', '-')}:\n"
    yield _title(path, path.count(" "))
    pieces = found.command.collect_usage_pieces(found)
    yield _literal(" ".join([path, *pieces]))
    for is_kept, text in paragraphs(found.command):
        title, _, lines = text.partition("\n")
        if is_kept and not title.endswith(":"):
            yield _literal(textwrap.dedent(text))
        elif is_kept and lines:
            yield f"{_escaped(title)}{_literal(textwrap.dedent(lines)).removeprefix(':')}"
        else:
            yield f"{_escaped(' '.join(text.split()))}\n"
    yield from (f"``{names}``\n    {_escaped(text)}\n" for names, text in options_of(found))
    if isinstance(found.command, AgentCommand):
        yield f"{_KEYS.format(name=found.info_name)}\n"


def _title(text: str, depth: int) -> str:
    return f"{text}\n{_UNDERLINES[depth] * len(text)}\n"


def _literal(text: str) -> str:
    return f"::\n\n{textwrap.indent(text, '    ')}\n"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


if __name__ == "__main__":
    sys.stdout.write(page())
