"""Folders outside of the sandboxes that jobs may run in (``jobs.allow_folders``)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from pagent.errors import ConfigError
from pagent.jobs.openat_beneath import FOLDER, openat_beneath
from pagent.unix import O_DIRECTORY


class AllowedFolders:
    """The configured folders; a job may be started in each of them, and in all folders below.

    :raises ConfigError: a folder is not given by its absolute path.
    """

    def __init__(self, folders: Iterable[str] = ()) -> None:
        self._folders = tuple(folders)
        for folder in self._folders:
            if not os.path.isabs(folder):
                raise ConfigError(f"jobs.allow_folders: {folder!r} is not an absolute path")

    def open(self, path: str) -> int:
        """Return a descriptor of the folder at an absolute path.

        Links are resolved first; where they lead has to be allowed. ValueError: it is not, whether it exists or not;
        the system's OSError: there is no such folder.
        """
        resolved = os.path.realpath(path)
        for folder in self._folders:
            top = os.path.realpath(folder)
            if os.path.commonpath((top, resolved)) == top:
                return _open_below(top, os.path.relpath(resolved, top), path)
        raise ValueError(f"{path!r} is not in a folder that jobs.allow_folders lists")


def _open_below(top: str, relative: str, path: str) -> int:
    """Open a folder that has just been resolved; a link that was put on the way meanwhile is not followed outside."""
    try:
        place = os.open(top, FOLDER)
        try:
            flags = os.O_RDONLY | O_DIRECTORY
            if relative == os.curdir:
                return os.open(os.curdir, flags, dir_fd=place)
            return openat_beneath(place, relative, flags)
        finally:
            os.close(place)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.ELOOP):
            raise ValueError(f"{path!r} is not in a folder that jobs.allow_folders lists") from None
        raise OSError(error.errno, error.strerror, path) from None
