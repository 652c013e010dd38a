"""Search the words of a command, and the scripts that it names, for signs of what the program does."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

from pagent.limits import MIB

#: Largest script that is searched.
_SCRIPT_MAX: Final = MIB
#: How the binary of a program begins.
_BINARY: Final = b"\x7fELF"


def is_in_command(pattern: re.Pattern[bytes], command: Sequence[str], folder: str | None) -> bool:
    """Return whether a pattern is in an argument, or in a script that an argument names.

    :param folder: the folder of this machine that relative names are of; None: scripts are not searched.
    """
    return any(pattern.search(text) for text in _texts(command, folder))


def _texts(command: Sequence[str], folder: str | None) -> Iterator[bytes]:
    yield from map(os.fsencode, command)
    if folder is not None:
        for text in command:
            yield _script(os.path.join(folder, text))


def _script(path: str) -> bytes:
    """Return the content of a script, empty for what is not one."""
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _SCRIPT_MAX:
            return b""
        with open(path, "rb") as file:
            content = file.read()
    except (OSError, ValueError):
        return b""
    return b"" if content.startswith(_BINARY) else content
