"""The options of every command that dials: an agent or a router, by address or as a saved context, and its token."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from pagent.cli.completing import addresses, context_names
from pagent.cli.debug import note
from pagent.errors import ConfigError
from pagent.log import escape
from pagent.names import TOKEN_VARIABLE

#: The variable that names the saved context to use.
CONTEXT_VARIABLE: Final = "PAGENT_CONTEXT"

_NO_TOKEN: Final = f"a token is required: use --token-file, or set {TOKEN_VARIABLE} in the environment"


@dataclass(frozen=True)
class Target:
    """The peer that a command dials. ``debug``: print tracebacks of failures, and the log."""

    address: str
    token: str = field(repr=False)
    debug: bool = False


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function is called with ``target: Target``."""
    return _with_target(function)


def optional_target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function is called with ``target: Target | None``; None if no option names one.

    With an option ``detach`` or ``pool`` one is required.
    """
    return _with_target(function, is_named=_is_named)


def found_target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function is called with ``target: Target | ConfigError | None``.

    None: no option and no context names one; ConfigError: what is named cannot be used. Without a token that of the
    target is empty.
    """

    @wraps(function)
    def wrapper(agent: str | None, context: str | None, token_file: Path | None, debug: bool, **values: Any) -> Any:
        target: Target | ConfigError | None = None
        try:
            if _is_any_named(agent, context):
                target = find_target(agent, context, token_file, debug=debug, needs_token=False)
        except ConfigError as error:
            target = error
        return function(target=target, **values)

    return _with_options(wrapper)


def _is_named(agent: str | None, context: str | None) -> bool:
    return agent is not None or context is not None


def _is_any_named(agent: str | None, context: str | None) -> bool:
    from pagent.config.contexts import saved_contexts

    named = _is_named(agent, context) or os.environ.get(CONTEXT_VARIABLE)
    return bool(named) or saved_contexts().current is not None


def _with_target(
    function: Callable[..., Any],
    *,
    is_named: Callable[[str | None, str | None], bool] | None = None,
) -> Callable[..., Any]:
    """``is_named``: whether there is a target, from the options --agent and --context; None: it is required."""

    @wraps(function)
    def wrapper(agent: str | None, context: str | None, token_file: Path | None, debug: bool, **values: Any) -> Any:
        target = None
        if is_named is None or values.get("detach") or values.get("pool") or is_named(agent, context):
            target = find_target(agent, context, token_file, debug=debug)
            if agent is None:
                report_readable_tokens()
        return function(target=target, **values)

    return _with_options(wrapper)


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS: Final = [
    click.option(
        "--agent",
        metavar="ADDRESS",
        shell_complete=addresses,
        help="Address of the agent or router: HOST:PORT or wss://HOST/PATH.",
    ),
    click.option(
        "--context",
        metavar="NAME",
        shell_complete=context_names,
        help=f"A saved context instead of --agent. {CONTEXT_VARIABLE} names one, too (pagent context --help).",
    ),
    click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"File whose first line is the token. Default: {TOKEN_VARIABLE} of the environment.",
    ),
    click.option("--debug", is_flag=True, callback=note, help="Print the traceback of a failure, and the log."),
]


def find_target(
    agent: str | None, context: str | None, token_file: Path | None, *, debug: bool = False, needs_token: bool = True
) -> Target:
    """Return the peer that options, environment and saved contexts name. click.UsageError, ConfigError."""
    if agent is not None and context is not None:
        raise click.UsageError("--agent and --context cannot be used together: a context has an address")
    token = None if token_file is None else _token_of(token_file)
    if agent is not None:
        token = token or os.environ.get(TOKEN_VARIABLE)
        if not token and needs_token:
            raise ConfigError(_NO_TOKEN)
        return Target(agent, token or "", debug)
    # Imported here because YAML is not needed to print a help text.
    from pagent.config.contexts import saved_contexts

    contexts = saved_contexts()
    name = context or os.environ.get(CONTEXT_VARIABLE) or contexts.current
    if name is None:
        raise ConfigError("no agent is chosen: use --agent ADDRESS, or save one with pagent context add NAME ADDRESS")
    saved = contexts.get(name)
    return Target(saved.address, token or saved.token, debug)


def report_readable_tokens() -> None:
    """Warn the user if the file of contexts can be read by other users of this machine."""
    from pagent.cli.terminal.standard_streams import say
    from pagent.config.contexts import NoHomeError, contexts_path, readable_by_other_users

    with suppress(NoHomeError):
        if readable_by_other_users(path := contexts_path()):
            say(escape(f"{path}: other users can read your tokens; run chmod 600"))


def _token_of(path: Path) -> str:
    from pagent.config.tokens import read_token

    return read_token(path)
