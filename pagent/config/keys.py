"""The keys that a router signs with: the file ``access.keys_file``, one key a line."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from pagent.config.model import Settings
from pagent.config.router import RouterSettings
from pagent.config.tokens import read_tokens
from pagent.errors import ConfigError

_KEY_CHARS_MIN: Final = 32
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def load_keys(path: Path) -> list[bytes]:
    """Return the keys of a file; the first one signs. ConfigError, which quotes nothing of the file."""
    try:
        keys = read_tokens(path)
    except ConfigError as error:
        raise ConfigError(f"access.keys_file: {error}") from None
    if not keys:
        raise ConfigError(f"access.keys_file: {path}: holds no key; a file of keys has one a line")
    if any(len(key) < _KEY_CHARS_MIN for key in keys):
        raise ConfigError(
            f"access.keys_file: {path}: a key has at least {_KEY_CHARS_MIN} characters, as openssl rand -hex 32 prints"
        )
    return [key.encode() for key in dict.fromkeys(keys)]


def file_of_keys(settings: Settings | RouterSettings) -> Path | None:
    """Return the file of keys that the configuration names; an agent has none."""
    return settings.access.keys_file if isinstance(settings, RouterSettings) else None


def is_open_to_others(path: Path) -> bool:
    """Return whether other users than the owner may do anything with the file."""
    try:
        return bool(path.stat().st_mode & _OTHERS)
    except OSError:
        return False
