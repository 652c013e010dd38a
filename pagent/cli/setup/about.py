"""``pagent help`` and ``pagent version``."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Iterable, Sequence
from typing import Final

import click

from pagent import __version__, is_compiled
from pagent.cli.commands import COMMANDS, suggestion
from pagent.cli.explained import explanations, lines_of
from pagent.log import escape

#: Columns of the name of an error.
_NAME: Final = 24


def version_text() -> str:
    """Return the version, and whether the package is compiled."""
    return f"pagent, version {__version__} ({'' if is_compiled() else 'not '}compiled)"


@click.command(short_help="Print the version.")
def version() -> None:
    """Print the version, and whether the package is compiled. -V and --version do the same.

    \b
    Example:
      pagent version
    """
    click.echo(version_text())


def _topics(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the names of commands and errors."""
    return [name for name in (*COMMANDS, "errors", *explanations()) if name.startswith(incomplete)]


@click.command(name="help", short_help="Explain a command or an error.")
@click.argument("words", nargs=-1, metavar="[COMMAND|ERROR]...", shell_complete=_topics)
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Explain COMMAND, as COMMAND --help does; or an error, by the name in its message.

    \b
    Examples:
      pagent help run
      pagent help token new
      pagent help port-taken
      # List the names of all errors
      pagent help errors
    """
    assert ctx.parent is not None, "it is a command of the group"
    if (lines := _lines_of_error(words)) is not None:
        click.echo("\n".join(lines))
        return
    found = ctx.parent
    for word in words:
        group = found.command
        command = group.get_command(found, word) if isinstance(group, click.Group) else None
        if command is None:
            if found is ctx.parent:
                close = difflib.get_close_matches(word, [*COMMANDS, *explanations()], n=1)
                probable = suggestion(word) or (close[0] if close else None)
                advice = f"did you mean {probable}?" if probable else "pagent --help and pagent help errors list all"
                found.fail(f"No such command or error {escape(word)!r}; {advice}")
            raise click.UsageError(f"{found.command_path} has no command {word!r}")
        found = command.context_class(command, info_name=word, parent=found)
    click.echo(found.get_help())


def _lines_of_error(words: Sequence[str]) -> Iterable[str] | None:
    """Return the explanation of an error, or the names of all errors; None if the words name none."""
    if tuple(words) == ("errors",):
        # Imported here because pagent --help imports this module.
        from pagent.cli.terminal.standard_streams import output_columns
        from pagent.cli.terminal.tables import hanging_lines

        columns = output_columns()
        heads = {f"{name:{_NAME}} ": entry.messages[0] for name, entry in explanations().items()}
        return [line for head, text in heads.items() for line in hanging_lines(head, text, columns)]
    if len(words) == 1 and words[0] in explanations():
        return lines_of(words[0], shutil.get_terminal_size().columns)
    return None
