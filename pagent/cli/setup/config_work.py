"""The work of ``pagent config check`` and ``show``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from pagent.config.load import load_model
from pagent.config.model import Settings
from pagent.config.router import RouterSettings
from pagent.config.schema import keys, resolve
from pagent.errors import ConfigError
from pagent.net.dial import parse_address
from pagent.service.dialling import targets_of


def check_file(model: type, path: Path, sets: Sequence[str]) -> None:
    """Read a configuration, with the addresses in it, as a start does. No other file is read. ConfigError."""
    settings: object = load_model(model, path, sets)
    try:
        if isinstance(settings, Settings) and settings.client.enabled:
            targets_of(settings.client, {})
        elif isinstance(settings, RouterSettings):
            for index, agent in enumerate(settings.dial.agents):
                _check_address(f"dial.agents[{index}]", agent.address)
    except ConfigError as error:
        raise ConfigError(f"{error} (in {path})") from None


def _check_address(key: str, address: str) -> None:
    try:
        parse_address(address)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def effective(model: type, path: Path | None, sets: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each key with its value as JSON and its source. Secrets are hidden. ConfigError."""
    default: Any = load_model(model)
    of_file: Any = load_model(model, path)
    all_of_it: Any = load_model(model, path, sets)
    for key in keys(model):
        value, before = _value(all_of_it, key.name), _value(of_file, key.name)
        file_or_default = "default" if before == _value(default, key.name) else str(path)
        source = file_or_default if value == before else "--set"
        hidden = value and resolve(model, key.name).secret
        yield key.name, "(hidden)" if hidden else json.dumps(value, default=str), source


def _value(settings: Any, name: str) -> Any:
    return reduce(getattr, name.split("."), settings)
