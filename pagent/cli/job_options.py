"""Options that several commands have: the local ports, and the terminal."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from pagent.cli.publish import publishes_of


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
