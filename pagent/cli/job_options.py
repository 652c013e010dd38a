"""Options that several commands have: the agent, its token, and the local ports."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pagent.cli.publish import publishes_of
from pagent.names import TOKEN_VARIABLE


def agent_option(help_text: str, *, required: bool = False) -> Callable[[Any], Any]:
    """Return a decorator: the function is called with ``agent: str | None``, an address."""
    return click.option(
        "--agent", metavar="ADDRESS", required=required, help=f"{help_text}: HOST:PORT or wss://HOST/PATH."
    )


def publish_option(help_text: str) -> Callable[[Any], Any]:
    """Return a decorator: the function is called with ``publishes: tuple[Publish, ...]``."""
    return click.option(
        "-p",
        "--open",
        "publishes",
        callback=publishes_of,
        multiple=True,
        metavar="LOCAL[:JOB]",
        help=f"Forward port LOCAL of 127.0.0.1 to the job, or to its port JOB{help_text} Can be repeated.",
    )


def _read_token(ctx: click.Context, param: click.Parameter, path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    # Imported here because YAML is not needed to print a help text.
    from pagent.config.tokens import read_token

    return read_token(path)


#: Decorator: the function is called with ``token: str | None``. No option carries the token itself, because every user
#: can read a command line.
token_option = click.option(
    "--token-file",
    "token",
    type=click.Path(path_type=Path),
    callback=_read_token,
    metavar="FILE",
    help=f"File whose first line is the agent's token. Default: {TOKEN_VARIABLE} of the environment.",
)
