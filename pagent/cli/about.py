"""``pagent help`` and ``pagent version``."""

from __future__ import annotations

import click

from pagent import __version__, is_compiled


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


@click.command(name="help", short_help="Explain a command.")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Explain COMMAND, as COMMAND --help does.

    \b
    Examples:
      pagent help run
      pagent help token new
    """
    assert ctx.parent is not None, "it is a command of the group"
    found = ctx.parent
    for word in words:
        group = found.command
        command = group.get_command(found, word) if isinstance(group, click.Group) else None
        if command is None:
            if found is ctx.parent:
                found.fail(f"No such command {word!r}.")
            raise click.UsageError(f"{found.command_path} has no command {word!r}")
        found = click.Context(command, info_name=word, parent=found)
    click.echo(found.get_help())
