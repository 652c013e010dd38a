"""The token that a command presents to an agent: from a file or from the environment, never from the command line."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pagent.names import TOKEN_VARIABLE


def _read(ctx: click.Context, param: click.Parameter, path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    # Here and not above: YAML is not needed to print a help text.
    from pagent.config.tokens import read_token

    return read_token(path)


#: Decorator: the function gets ``token: str | None``.
token_option = click.option(
    "--token-file",
    "token",
    type=click.Path(path_type=Path),
    callback=_read,
    metavar="FILE",
    help=f"File whose first line is a token that the agent accepts. Without it: {TOKEN_VARIABLE} in the environment.",
)
