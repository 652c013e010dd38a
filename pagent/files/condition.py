"""The condition of an upload or a removal: the expected version of the file that is replaced or removed.

Peers know a file by its version, an opaque text that changes whenever the content may have changed.
"""

from __future__ import annotations

import os
from typing import Final

from pagent.errors import FileChangedError
from pagent.files.sandbox_access import SandboxAccess

#: In the place of a version: any file.
ANY_VERSION: Final = "*"
#: The most versions of one condition.
_VERSIONS_MAX: Final = 64


def version_of(status: os.stat_result) -> str:
    """Return the version of a regular file."""
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"


class Condition:
    """The expected version of the file at a path. TypeError or ValueError for invalid arguments of a peer.

    :param match: the file must have one of these versions; ``*`` stands for any.
    :param absent: there must be no file.
    """

    def __init__(self, match: object = None, absent: object = False) -> None:
        if match is not None and not (isinstance(match, (list, tuple)) and all(isinstance(one, str) for one in match)):
            raise TypeError("match must be a list of versions")
        if match is not None and len(match) > _VERSIONS_MAX:
            raise ValueError(f"match may have at most {_VERSIONS_MAX} versions")
        self._match = None if match is None else frozenset(match)
        self._absent = bool(absent)

    def check(self, sandbox: SandboxAccess, path: str) -> None:
        """Raise FileChangedError if the condition is not met; blocking. A link stands for its target."""
        if self._match is None and not self._absent:
            return
        found = _version_at(sandbox, path)
        if self._absent and found is not None:
            raise FileChangedError(path, "exists")
        if self._match is not None and found is None:
            raise FileChangedError(path, "does not exist")
        if self._match is not None and not self._match & {ANY_VERSION, found}:
            raise FileChangedError(path, "has changed")


def _version_at(sandbox: SandboxAccess, path: str) -> str | None:
    """Return the version of the file at ``path``; None if there is none."""
    try:
        descriptor = sandbox.open_read(path)
    except FileNotFoundError:
        return None
    try:
        return version_of(os.fstat(descriptor))
    finally:
        os.close(descriptor)
