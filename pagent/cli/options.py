"""The options that start an agent, and their help, which ends with every configuration key.

`configured` gives them to a command; they are the contract of spec agent.md, "Configuration".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pagent import log

if TYPE_CHECKING:
    from pagent.config.model import Settings


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line said."""

    config: Path | None
    log_level: str
    log_format: str
    connection_debug: bool
    sets: tuple[str, ...]
    properties: tuple[str, ...]

    def start(self) -> Settings:
        """Set the log up and read the configuration. Raises `ConfigError`."""
        # Here and not above: YAML is not needed to print a help text.
        from pagent.config.load import load

        settings = load(self.config, self.sets, self.properties)
        log.setup(self.log_level, self.log_format)
        if self.connection_debug:
            logging.getLogger("pagent.rpc.connection").setLevel(logging.DEBUG)
        return settings


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
