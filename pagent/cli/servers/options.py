"""Options of the commands that start an agent or a router. Their help ends with all configuration keys.

`agent_options` and `router_options` add them to a command. They are a contract: docs/contract.rst, "Configuration".
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, cast

import click

from pagent import log

if TYPE_CHECKING:
    from pagent.config.joining import JoinData
    from pagent.config.model import LogLevel, Settings
    from pagent.config.router import RouterSettings

_log = logging.getLogger(__name__)

S = TypeVar("S", "Settings", "RouterSettings")

#: The level of the log of an agent that a pool has started.
_JOINED_LEVEL: Final = "warning"


def _place_of_secret(model: type, name: str) -> str:
    """Return the name of the key or the option for a file that can hold the secret of a key."""
    from pagent.config.schema import keys

    file = f"{name}_file"
    return file if any(key.name == file for key in keys(model)) else "--config"


@dataclass(frozen=True, kw_only=True)
class Options(Generic[S]):
    """Values of the options that an agent and a router have in common."""

    config: Path | None
    log_level: str | None
    log_format: str
    log_json: bool
    connection_debug: bool
    sets: tuple[str, ...]

    def start(self) -> S:
        """Read the configuration and set up the log. ConfigError."""
        # Imported here because YAML is not needed to print a help text.
        from pagent.config.keys import file_of_keys, is_open_to_others
        from pagent.config.load import secrets_of_sets
        from pagent.config.tokens import readable_by_others, token_files

        settings = self._load()
        log.setup(settings.log_level or self._level, self.log_format, as_json=self.log_json)
        if self.connection_debug:
            logging.getLogger("pagent.rpc.connection").setLevel(logging.DEBUG)
        for name in secrets_of_sets(type(settings), self.sets):
            _log.warning(
                "--set %s: every user of this machine can read a token on a command line; use %s",
                name,
                _place_of_secret(type(settings), name),
            )
        for path in token_files(settings):
            if readable_by_others(path):
                _log.warning("%s: every user of this machine can read this file of tokens; run chmod 600", path)
        if (keys := file_of_keys(settings)) is not None and is_open_to_others(keys):
            _log.warning("%s: others than its owner may use this file of keys; run chmod 600", keys)
        return settings

    def reload(self) -> S:
        """Read the configuration again, with its log level or that of the command line. ConfigError."""
        settings = self._load()
        return replace(settings, log_level=settings.log_level or cast("LogLevel", self._level))

    @property
    def _level(self) -> str:
        return self.log_level or log.DEFAULT_LEVEL

    @property
    def reread(self) -> Callable[[], S] | None:
        """Return the function for SIGHUP. None if standard input is a terminal: SIGHUP then means that it is closed."""
        try:
            return None if os.isatty(0) else self.reload
        except OSError:
            return self.reload

    def _load(self) -> S:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class AgentOptions(Options["Settings"]):
    """Values of the options of ``serve``."""

    properties: tuple[str, ...]
    token_file: Path | None
    join: JoinData | None

    @property
    def _level(self) -> str:
        """Return the level of the log. With ``--join`` the log is part of an engine's output, which people read."""
        return self.log_level or (log.DEFAULT_LEVEL if self.join is None else _JOINED_LEVEL)

    def _load(self) -> Settings:
        from pagent.config.load import load

        settings = load(self.config, self.sets, self.properties, token_file=self.token_file)
        return settings if self.join is None else self.join.settings(settings)


class JoinDataParam(click.ParamType["JoinData"]):
    """The value of ``--join``: a file, or ``-`` for standard input, is read once."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> JoinData:
        from pagent.config.joining import read_join_data

        return read_join_data(value, sys.stdin.buffer).limited(os.environ)


@dataclass(frozen=True, kw_only=True)
class RouterOptions(Options["RouterSettings"]):
    """Values of the options of ``route``."""

    def _load(self) -> RouterSettings:
        from pagent.config.load import load_model
        from pagent.config.router import RouterSettings

        return load_model(RouterSettings, self.config, self.sets)


_OPTIONS = [
    click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Configuration file (YAML)."),
    click.option(
        "--log-level",
        type=click.Choice(list(log.LEVELS), case_sensitive=False),
        metavar="LEVEL",
        help=f"Lowest level to log: {', '.join(log.LEVELS)}.  [default: {log.DEFAULT_LEVEL}]",
    ),
    click.option(
        "--log-format",
        default=log.DEFAULT_FORMAT,
        show_default=True,
        metavar="FORMAT",
        help="Format of log lines, as for Python's logging.",
    ),
    click.option("--log-json", is_flag=True, help="Log lines of JSON; --log-format is then not used."),
    click.option("--connection-debug", is_flag=True, help="Log each message that links receive: type, call and size."),
    click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="KEY=LITERAL",
        help="Set a configuration key to a Python literal; overrides the file. Can be repeated.",
    ),
]
_AGENT_OPTIONS = [
    *_OPTIONS,
    click.option(
        "--property",
        "properties",
        multiple=True,
        metavar="NAME=VALUE",
        help="Add a property, a string. Can be repeated.",
    ),
    click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File of accepted tokens, one per line (server.accept_tokens_file). PAGENT_TOKEN in the environment is an"
        " accepted token, too.",
    ),
    click.option(
        "--join",
        type=JoinDataParam(),
        metavar="FILE|-",
        help="Join routers as FILE or standard input says (JSON), and end when there is no work: for a pool's command."
        f" --log-level is then {_JOINED_LEVEL}, unless it is given.",
    ),
]


def agent_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function is called with ``options: AgentOptions`` and with its other options."""
    return _with_options(AgentOptions, _AGENT_OPTIONS, function)


def router_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function is called with ``options: RouterOptions`` and with its other options."""
    return _with_options(RouterOptions, _OPTIONS, function)


def _with_options(cls: Any, declared: list[Any], function: Callable[..., Any]) -> Callable[..., Any]:
    names = cls.__dataclass_fields__

    @wraps(function)
    def wrapper(**values: Any) -> Any:
        options = cls(**{name: values.pop(name) for name in names})
        return function(options=options, **values)

    for option in reversed(declared):
        wrapper = option(wrapper)
    return wrapper


class AgentCommand(click.Command):
    """A command whose help lists the configuration keys of an agent."""

    model: ClassVar = "agent"

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        write_keys(formatter, self.model)


class RouterCommand(AgentCommand):
    """A command whose help lists the configuration keys of a router."""

    model = "router"


def write_keys(formatter: click.HelpFormatter, model: str) -> None:
    """Write every configuration key with its type, default and meaning."""
    from pagent.config.reference import MODELS
    from pagent.config.schema import keys

    cls, _ = MODELS[model]
    rows = [(key.name, f"{key.help}  [{key.kind}; default: {key.default}]") for key in keys(cls)]
    with formatter.section("Configuration keys (file or --set)"):
        formatter.write_dl(rows)
