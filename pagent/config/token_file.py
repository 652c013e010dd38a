"""Edit a file of access tokens (docs/access.rst, "Tokens"), as ``pagent token`` does.

The file is edited as text, so that comments and the order stay, and the result is read again before it is written. A
new file takes the place of the old one at once: a reader gets one of the two. Writers hold a lock on the file that has
the name now; one that has waited for a lock looks whether it still is that file.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pagent.config.access_tokens import parse_records, read_records
from pagent.config.load import read_list
from pagent.config.replacing import replace_file
from pagent.config.router import AccessToken
from pagent.errors import ConfigError

#: The mode of a file that is new: it holds no token, but says which there are.
_MODE = 0o600


def list_tokens(path: Path) -> list[AccessToken]:
    """Return the tokens of a file. ConfigError, also for a file that is missing."""
    return parse_records(read_records(path, str(path)), str(path))


def add_token(path: Path, record: dict[str, Any]) -> None:
    """Add a token, a map with the keys of ``access.tokens``, to a file that may be missing. ConfigError."""
    with _locked(path, create=True):
        text = read_records(path, str(path))
        before = parse_records(text, str(path))
        if record["name"] in [token.name for token in before]:
            raise ConfigError(f"{path}: there is a token {record['name']!r} already; revoke it first")
        lines = text.splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        indent = _indent(text, path)
        # JSON is YAML, and each token is one line.
        lines.append(f"{indent}- {json.dumps(record, ensure_ascii=False)}\n")
        _replace(path, "".join(lines), [*(token.name for token in before), record["name"]])


def remove_token(path: Path, name: str) -> None:
    """Remove the token with this name. ConfigError if there is none."""
    if not os.path.lexists(path):
        raise ConfigError(f"{path}: No such file or directory")
    with _locked(path, create=False):
        text = read_records(path, str(path))
        names = [token.name for token in parse_records(text, str(path))]
        if name not in names:
            raise ConfigError(f"{path}: there is no token {name!r}")
        index = names.index(name)
        _, (first, after) = read_list(text, str(path))[index]
        lines = text.splitlines(keepends=True)
        # The dash may be on a line of its own.
        while first > 0 and not lines[first].lstrip().startswith("-"):
            first -= 1
        _replace(path, "".join(lines[:first] + lines[after:]), names[:index] + names[index + 1 :])


def _indent(text: str, path: Path) -> str:
    """Return the indentation before the dash of each item."""
    items = read_list(text, str(path))
    if not items:
        return ""
    first = items[0][1][0]
    line = next((line for line in reversed(text.splitlines()[: first + 1]) if line.lstrip().startswith("-")), "-")
    return line[: len(line) - len(line.lstrip())]


def _replace(path: Path, text: str, expected: list[str]) -> None:
    """Write the new text, if it says what it should. ConfigError if the file has a form that is not edited."""
    try:
        names = [token.name for token in parse_records(text, str(path))]
    except ConfigError:
        names = []
    if names != expected:
        raise ConfigError(f"{path}: not a list with one '- ' for each token; edit it by hand")
    target = Path(os.path.realpath(path))
    before = target.stat()
    replace_file(target, text, stat.S_IMODE(before.st_mode), (before.st_uid, before.st_gid))


@contextmanager
def _locked(path: Path, *, create: bool) -> Iterator[None]:
    """Hold the lock of the file that has this name. ConfigError, which names the file.

    :param create: make the file if there is none. It is removed again if nothing is written to it.
    """
    is_new = create and not os.path.lexists(path)
    try:
        descriptor = _lock(path, os.O_RDWR | (os.O_CREAT if create else 0))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    finally:
        if is_new and _is_same(descriptor, path) and not os.fstat(descriptor).st_size:
            path.unlink()
        os.close(descriptor)


def _lock(path: Path, flags: int) -> int:
    import fcntl  # of Unix systems alone

    while True:
        descriptor = os.open(path, flags | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_same(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_same(descriptor: int, path: Path) -> bool:
    """Return whether the file that was opened still has the name: another writer may have replaced it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
