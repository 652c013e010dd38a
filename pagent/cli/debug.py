"""``--debug``, an option of every command, and the message for an error that no command expects."""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType
from typing import Any, Final

import click

_HELP: Final = "Print the traceback of a failure."


class _Debug:
    """Whether ``--debug`` is given."""

    is_on = False


def is_on() -> bool:
    """Return whether the command line has ``--debug``."""
    return _Debug.is_on


def note(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    """Note the option (a callback of click)."""
    _Debug.is_on = value
    return value


def with_debug(command: click.Command) -> click.Command:
    """Return a command of the command line, which has the option ``--debug``: its own, or one that is added here.

    The commands of a group get the option instead of the group.
    """
    if isinstance(command, click.Group):
        for part in command.commands.values():
            with_debug(part)
    elif all(param.name != "debug" for param in command.params):
        command.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, callback=note, help=_HELP))
    return command


def print_traceback(error: BaseException) -> None:
    """Print the traceback of a failure, with ``--debug``."""
    if _Debug.is_on:
        traceback.print_exception(error)


def install_hook() -> None:
    """Make this process end with one line after an error that no command expects; the exit code is 1."""
    sys.excepthook = _unexpected


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
    from pagent.cli.explained import with_name
    from pagent.cli.terminal.standard_streams import say
    from pagent.log import escape

    print_traceback(error)
    text = f"unexpected error: {kind.__name__}: {error}{_place_of(trace)}"
    advice = "this is a fault of pagent" if _Debug.is_on else "this is a fault of pagent; --debug prints more"
    say(escape(with_name(f"{text}; {advice}")))


def _place_of(trace: TracebackType | None) -> str:
    """Return the innermost place of a traceback in this package, for the message."""
    frames = [frame for frame in traceback.extract_tb(trace) if f"{os.sep}pagent{os.sep}" in frame.filename]
    return f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
