"""Options and arguments of several commands: the local ports, the terminal, and the COMMAND that they start."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from pagent.cli.ports.publish import publishes_of
from pagent.limits import READY_TIMEOUT_MAX_S, READY_TIMEOUT_S

#: Settings of a command that ends with COMMAND: options after the first word of COMMAND belong to COMMAND.
COMMAND_SETTINGS: Final = {"allow_interspersed_args": False}

EXISTING_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)

wait_option: Final = click.option(
    "--wait",
    "ready_timeout",
    type=click.FloatRange(0, READY_TIMEOUT_MAX_S, min_open=True),
    default=READY_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Time for COMMAND to listen on its port.",
)


def publish_options(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator: the function is called with ``publishes: tuple[Publish, ...]``.

    ``--open`` is the name of ``-p`` in earlier releases.
    """
    new = click.option(
        "-p",
        "--publish",
        "publishes",
        callback=publishes_of,
        multiple=True,
        metavar="LOCAL[:JOB]",
        help=f"Forward port LOCAL of 127.0.0.1 to the job, or to its port JOB{help_text} Can be repeated.",
    )
    old = click.option("--open", "opened", callback=publishes_of, multiple=True, hidden=True)

    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapper(publishes: tuple[Any, ...], opened: tuple[Any, ...], **values: Any) -> Any:
            return function(publishes=publishes + opened, **values)

        return new(old(wrapper))

    return decorator


def terminal_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function is called with ``interactive: bool`` and ``tty: bool``."""
    for option in (
        click.option("-t", "--tty", is_flag=True, help="Run COMMAND on a terminal that has the size of this one."),
        click.option("-i", "--interactive", is_flag=True, help="Pass the standard input of this command on."),
    ):
        function = option(function)
    return function
