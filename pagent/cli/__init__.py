"""The ``pagent`` command. A subcommand is a module of this package and a line in `COMMANDS`."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from pagent import __version__, is_compiled
from pagent.cli.options import write_keys
from pagent.errors import ConfigError
from pagent.log import escape

#: Name of a command: its module, where the command has the same name. A module is imported when its command is used. It
#: imports heavy libraries inside its function, so that help texts are printed at once.
COMMANDS = {
    "serve": "pagent.cli.serve",
    "run": "pagent.cli.run",
    "forward": "pagent.cli.forward",
    "report": "pagent.cli.report",
    "route": "pagent.cli.route",
    "token": "pagent.cli.token",
}
DEFAULT = "serve"

#: Exit code for an invalid configuration. click uses it for an invalid command line.
EXIT_CONFIG = 2


class Pagent(click.Group):
    """Commands by name. Without a name, the command is ``serve``.

    Existing installations start the agent that way: ``pagent --set ...`` (docs/contract.rst, "Configuration").
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for param in self.get_params(ctx) for name in param.opts}
        # An unknown word is not an argument of serve: click reports it.
        if not args or (args[0].startswith("-") and args[0].partition("=")[0] not in own):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as exc:
            click.echo(f"pagent: {escape(str(exc))}", err=True)
            ctx.exit(EXIT_CONFIG)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        serve = self.get_command(ctx, DEFAULT)
        assert serve is not None
        records = [param.get_help_record(ctx) for param in serve.params]
        with formatter.section("Options of serve, also valid without a command"):
            formatter.write_dl([record for record in records if record is not None])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        write_keys(formatter, "agent")


@click.group(cls=Pagent, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__,
    prog_name="pagent",
    message=f"%(prog)s, version %(version)s ({'' if is_compiled() else 'not '}compiled)",
)
def pagent() -> None:
    """Run interactive programs as jobs, and carry their HTTP, WebSocket and TCP traffic over one link."""


def _reserve_descriptors() -> None:
    """Open /dev/null as stdin, stdout and stderr where these are closed: no other file may get their numbers."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def router() -> NoReturn:
    """The console script ``prouter``, which is ``pagent route``; ends the process."""
    _reserve_descriptors()
    pagent(["route", *sys.argv[1:]], prog_name="pagent")
    raise AssertionError("click ends the process")


def main() -> NoReturn:
    """Run the command line (the console script), and end the process."""
    _reserve_descriptors()
    pagent(prog_name="pagent")
    raise AssertionError("click ends the process")
