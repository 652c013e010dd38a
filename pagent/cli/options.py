"""The options that start an agent, and their help, which ends with every configuration key.

`configured` gives them to a command; they are the contract of spec agent.md, "Configuration".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from pagent import log

if TYPE_CHECKING:
    from pagent.config.model import LogLevel, Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line said."""

    config: Path | None
    log_level: str
    log_format: str
    connection_debug: bool
    sets: tuple[str, ...]
    properties: tuple[str, ...]
    token_file: Path | None

    def start(self) -> Settings:
        """Set the log up and read the configuration. Raises `ConfigError`."""
        # Here and not above: YAML is not needed to print a help text.
        from pagent.config.load import secrets_of_sets
        from pagent.config.tokens import readable_by_others, token_files

        settings = self._load()
        log.setup(settings.log_level or self.log_level, self.log_format)
        if self.connection_debug:
            logging.getLogger("pagent.rpc.connection").setLevel(logging.DEBUG)
        for name in secrets_of_sets(self.sets):
            _log.warning("--set %s: every user of this machine can read a command line; use %s_file", name, name)
        for path in token_files(settings):
            if readable_by_others(path):
                _log.warning("%s holds tokens, and every user of this machine can read it: chmod 600", path)
        return settings

    def reload(self) -> Settings:
        """Read the configuration again, with the level of the log that is to be in force. Raises `ConfigError`."""
        settings = self._load()
        return replace(settings, log_level=settings.log_level or cast("LogLevel", self.log_level))

    def _load(self) -> Settings:
        from pagent.config.load import load

        return load(self.config, self.sets, self.properties, token_file=self.token_file)


_OPTIONS = [
    click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="YAML file with the configuration."),
    click.option(
        "--log-level",
        type=click.Choice(list(log.LEVELS), case_sensitive=False),
        default=log.DEFAULT_LEVEL,
        show_default=True,
        help="Least level that is logged.",
    ),
    click.option(
        "--log-format",
        default=log.DEFAULT_FORMAT,
        show_default=True,
        metavar="FORMAT",
        help="Format string of Python's logging.",
    ),
    click.option("--connection-debug", is_flag=True, help="Log each message that links receive: kind, call, size."),
    click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="KEY=LITERAL",
        help="Set a configuration key to a Python literal, on top of the file. May be given many times.",
    ),
    click.option(
        "--property",
        "properties",
        multiple=True,
        metavar="NAME=VALUE",
        help="Add a property, always a string. May be given many times.",
    ),
    click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File with tokens that routers may present, one a line (server.accept_tokens_file). PAGENT_TOKEN in the"
        " environment is one more.",
    ),
]


def configured(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function is called with ``options: Options``, and with what other options it declares."""
    names = Options.__dataclass_fields__

    @wraps(function)
    def wrapper(**values: Any) -> Any:
        options = Options(**{name: values.pop(name) for name in names})
        return function(options=options, **values)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper


class ConfiguredCommand(click.Command):
    """A command whose help ends with the configuration keys."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        write_keys(formatter)


def write_keys(formatter: click.HelpFormatter) -> None:
    """Every configuration key with its type, default and meaning."""
    from pagent.config.schema import keys

    rows = [(key.name, f"{key.help}  [{key.kind}; default: {key.default}]") for key in keys()]
    with formatter.section("Configuration keys (in the file, or with --set)"):
        formatter.write_dl(rows)
