"""``pagent token``: edit the file of a router's access tokens, without a router."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_FILE = click.option(
    "--file",
    "path",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of tokens: access.tokens_file of the router.",
)

#: Of a token without --scope: all that concerns its own jobs.
_DEFAULT_SCOPES = ("read", "jobs", "proxy", "files", "logs", "exec")


@click.group(short_help="Edit the access tokens of a router.")
def token() -> None:
    """Edit the file of a router's access tokens. It needs no router.

    Send SIGHUP to the router afterwards. docs/access.rst has the scopes and quotas.

    \b
    Examples:
      pagent token new alice --file /etc/pagent/tokens.yaml
      pagent token new ops --scope 'read!any' --scope admin --expires 90d --file /etc/pagent/tokens.yaml
      pagent token list --file /etc/pagent/tokens.yaml
      pagent token revoke alice --file /etc/pagent/tokens.yaml
    """


def _quota(name: str, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(f"--{name}", type=click.IntRange(min=0), metavar="N", help=help)


@token.command()
@_FILE
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="A scope, such as read, 'jobs!any' or 'proxy!agent=UID'. Can be repeated. Default: all but admin.",
)
@click.option(
    "--expires",
    metavar="TIME",
    help="When it expires: 12h, 90d, or a time such as 2030-12-31T23:59:59Z. Default: never.",
)
@_quota("jobs", "Jobs that it may have at once.")
@_quota("jobs-per-minute", "Jobs that it may create in a minute.")
@_quota("streams", "Requests to jobs and other streams that it may have at once.")
@click.argument("name")
def new(path: Path, scopes: tuple[str, ...], expires: str | None, name: str, **quota: int | None) -> None:
    """Make a token with this NAME, and print it. It cannot be printed again."""
    from pagent.cli.servers.token_work import new_token

    secret = new_token(path, name, scopes or _DEFAULT_SCOPES, expires, quota)
    click.echo(secret)


@token.command(name="list")
@_FILE
def list_(path: Path) -> None:
    """Print the names of all tokens, with their scopes, expiry and quota."""
    from pagent.cli.servers.token_work import token_lines

    for line in token_lines(path):
        click.echo(line)


@token.command()
@_FILE
@click.argument("name")
def revoke(path: Path, name: str) -> None:
    """Remove the token with this NAME."""
    from pagent.config.token_file import remove_token

    remove_token(path, name)
