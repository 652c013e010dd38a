"""The ``pagent`` command. A subcommand is a function of a module in a package below, and an entry in ``commands.py``.

The packages below follow the groups of ``pagent --help``: ``run/``, ``ports/`` and ``copy/`` have the programs, and
``jobs/``, ``servers/`` and ``setup/`` the other groups. ``X.py`` has the options of the command ``X``. ``X_work.py``
has its work, and is imported when the command is invoked. The modules here are for the commands of several packages.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib import import_module
from typing import Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from pagent.cli.commands import COMMANDS, lines_of_help, suggestion
from pagent.cli.completing import VARIABLE, complete
from pagent.cli.debug import install_hook, print_traceback, with_debug
from pagent.cli.explained import with_name
from pagent.cli.help_pages import with_help_pages
from pagent.cli.terminal.standard_streams import is_terminal, name_standard_output
from pagent.errors import ConfigError
from pagent.log import escape

DEFAULT = "serve"

#: Exit code for an invalid configuration. click uses it for an invalid command line.
EXIT_CONFIG = 2
#: Exit code for an error of the system, such as a full disk.
EXIT_FAILED = 1
#: Exit code after Ctrl-C.
EXIT_INTERRUPTED = 130

#: Columns of a terminal below which click would assume a wider one.
_NARROW = 52

#: Functions that cannot have the name of their command.
_FUNCTIONS = {"help": "help_", "exec": "exec_", "open": "open_"}


class Pagent(click.Group):
    """Commands by name. Without a name but with an option, the command is ``serve``.

    Existing installations start the agent that way: ``pagent --set ...`` (docs/contract.rst, "Configuration"). Without
    any argument it is ``serve``, too, except on a terminal, where the help is printed.
    """

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Make the context. click wraps help texts at 50 columns or more, which breaks lines of a narrow terminal."""
        columns = shutil.get_terminal_size().columns
        if columns < _NARROW:
            options.setdefault("terminal_width", columns)
        return super().make_context(*args, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(import_module(f"pagent.cli.{entry.module}"), _FUNCTIONS.get(cmd_name, cmd_name))
        assert isinstance(command, click.Command)
        return with_help_pages(with_debug(command))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            probable = suggestion(args[0])
            advice = f"did you mean {probable}?" if probable else "pagent --help lists all commands."
            ctx.fail(f"No such command {escape(args[0])!r}; {advice}")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and ctx.resilient_parsing:
            return super().parse_args(ctx, args)  # a shell asks for the names of the commands
        if not args and _is_interactive():
            args = ["--help"]
        own = {name for param in self.get_params(ctx) for name in param.opts}
        # An unknown word is not an argument of serve: click reports it.
        if not args or (args[0].startswith("-") and args[0].partition("=")[0] not in own):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line. A wrong one is reported in one line, with the command that explains it."""
        run: Any = super().main
        if not options.pop("standalone_mode", True):
            return run(*args, standalone_mode=False, **options)
        try:
            result = run(*args, standalone_mode=False, **options)
        except NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            print_traceback(error)
            click.echo(f"pagent: {escape(_usage_fault(error))}", err=True)
            sys.exit(error.exit_code)
        except OSError as error:  # a text of help is printed before a command is invoked
            _report_system_error(error)
            sys.exit(EXIT_FAILED)
        sys.exit(result if isinstance(result, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            self._complete(error, ctx)
            raise
        except ConfigError as error:
            _report(error, str(error))
            ctx.exit(EXIT_CONFIG)
        except BrokenPipeError:
            raise  # the reader of the output wants no more: click ends the process
        except OSError as error:
            _report_system_error(error)
            ctx.exit(EXIT_FAILED)
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)

    def _complete(self, error: click.UsageError, ctx: click.Context) -> None:
        """Name the command in an error of click's parser, which has none for an option without its value."""
        name = ctx.invoked_subcommand
        if error.ctx is None and name is not None and (command := self.get_command(ctx, name)) is not None:
            error.ctx = click.Context(command, parent=ctx, info_name=name)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("pagent", "COMMAND [OPTIONS] [ARGUMENTS]")
        formatter.write_text(self.help or "")
        formatter.write_paragraph()
        for line in lines_of_help(formatter.width):
            formatter.write(f"{line}\n")
        formatter.write_paragraph()
        formatter.write_text("pagent help COMMAND explains a command, with examples. -V prints the version.")


def _usage_fault(error: click.ClickException) -> str:
    """Return the fault of a command line, and where its usage is explained."""
    text = " ".join(error.format_message().split()).rstrip(".")  # click lists choices in several lines
    has_advice = "--help" in text or "did you mean" in text.lower()
    if has_advice or not isinstance(error, click.UsageError):
        return text
    if error.ctx is not None and isinstance(group := error.ctx.command, click.Group) and "No such command" in text:
        return f"{text}; {error.ctx.command_path} has {', '.join(sorted(group.commands))}"
    return f"{text}; {'pagent' if error.ctx is None else error.ctx.command_path} --help explains it"


def _report_system_error(error: OSError) -> None:
    _report(error, f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))


def _report(error: Exception, text: str) -> None:
    print_traceback(error)
    click.echo(f"pagent: {escape(with_name(text))}", err=True)


def _is_interactive() -> bool:
    return is_terminal(0) and is_terminal(1)


def _print_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    from pagent.cli.setup.about import version_text

    if wanted and not ctx.resilient_parsing:
        click.echo(version_text())
        ctx.exit()


@click.group(cls=Pagent, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-V",
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
def pagent() -> None:
    """Run programs as jobs on a host, and reach their ports over one link."""


def _reserve_descriptors() -> None:
    """Open /dev/null as stdin, stdout and stderr where these are closed: no other file may get their numbers."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Python has none for a descriptor that was closed when it started.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _begin() -> None:
    _reserve_descriptors()
    name_standard_output()
    install_hook()


def router() -> NoReturn:
    """Run the console script ``prouter``, which is ``pagent route``; end the process."""
    _begin()
    pagent(["route", *sys.argv[1:]], prog_name="pagent")
    raise AssertionError("click ends the process")


def main() -> NoReturn:
    """Run the command line (the console script), and end the process."""
    _begin()
    if VARIABLE in os.environ:
        complete(pagent)
    pagent(prog_name="pagent")
    raise AssertionError("click ends the process")
