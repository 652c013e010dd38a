"""The saved contexts of the command line: an address and a token by name, in a file of the user's (mode 0600)."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pagent.config.load import read_map
from pagent.config.replacing import replace_file
from pagent.errors import ConfigError

#: A name does not look like an option.
_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9._@-]{1,64}")
_MODE: Final = 0o600


@dataclass(frozen=True)
class SavedContext:
    """How an agent or a router is reached."""

    address: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Contexts:
    """All contexts by name, and the name of the current one, which commands use by default."""

    by_name: Mapping[str, SavedContext] = field(default_factory=dict)
    current: str | None = None

    def get(self, name: str) -> SavedContext:
        """Return the context with this name. ConfigError if there is none."""
        if name not in self.by_name:
            known = f"there are {', '.join(sorted(self.by_name))}" if self.by_name else "there is none yet"
            raise ConfigError(f"there is no context {name!r}: {known}; pagent context add NAME ADDRESS saves one")
        return self.by_name[name]

    def added(self, name: str, context: SavedContext) -> Contexts:
        """Return the contexts with one more. The first one becomes the current one. ConfigError for the name."""
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot be a context's name: at most 64 letters, digits and . _ @ - are, and no - first"
            )
        return Contexts({**self.by_name, name: context}, self.current or name)

    def used(self, name: str) -> Contexts:
        """Return the contexts with another current one. ConfigError if there is none with this name."""
        self.get(name)
        return replace(self, current=name)

    def removed(self, name: str) -> Contexts:
        """Return the contexts without one. ConfigError if there is none with this name."""
        self.get(name)
        left = {other: context for other, context in self.by_name.items() if other != name}
        return Contexts(left, None if self.current == name else self.current)


class NoHomeError(ConfigError):
    """The user has no home folder: HOME is relative, or not set and the system does not know the user."""


def contexts_path() -> Path:
    """Return the path of the file: ``pagent/contexts.yaml`` in XDG_CONFIG_HOME or ``~/.config``. NoHomeError."""
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):  # XDG_CONFIG_HOME with a relative path counts as unset
        home = os.environ.get("HOME") or _home_of_user()
        if not os.path.isabs(home):
            raise NoHomeError("there is no home folder for saved contexts: set HOME to an absolute path")
        folder = os.path.join(home, ".config")
    return Path(folder) / "pagent" / "contexts.yaml"


def _home_of_user() -> str:
    """Return the home folder that the system knows for this user; empty if it does not know the user."""
    if sys.platform == "win32":
        return os.path.expanduser("~")
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def saved_contexts() -> Contexts:
    """Return the contexts of this user; none of a user without a home folder, or without a file. ConfigError."""
    try:
        path = contexts_path()
    except NoHomeError:
        return Contexts()
    return read_contexts(path)


def read_contexts(path: Path) -> Contexts:
    """Return the contexts of a file; none of a file that is missing. ConfigError, which quotes no token."""
    if not os.path.lexists(path):
        return Contexts()
    tree = read_map(path)
    saved, current = tree.get("contexts") or {}, tree.get("current")
    if not isinstance(saved, dict) or not (current is None or isinstance(current, str)):
        raise ConfigError(f"{path}: contexts must be a map, and current a name")
    contexts = Contexts({str(name): _context(path, name, value) for name, value in saved.items()})
    return contexts if current is None or current not in contexts.by_name else contexts.used(current)


def _context(path: Path, name: object, value: Any) -> SavedContext:
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("address", "token")):
        raise ConfigError(f"{path}: contexts.{name}: expected a map with address and token")
    return SavedContext(value["address"], value["token"])


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Replace the file at once. Only its owner can read it. OSError, which names the file."""
    lines = [f"current: {json.dumps(contexts.current)}", "contexts:" if contexts.by_name else "contexts: {}"]
    for name, context in contexts.by_name.items():  # JSON is YAML
        lines.append(f"  {json.dumps(name)}: {json.dumps({'address': context.address, 'token': context.token})}")
    try:
        for folder in (path.parent.parent, path.parent):  # mkdir gives its mode to the last folder alone
            if not folder.exists():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(Path(os.path.realpath(path)), "\n".join(lines) + "\n", _MODE)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def readable_by_other_users(path: Path) -> bool:
    """Return whether other users than the owner may read the file."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False
