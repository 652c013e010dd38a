"""Make a job's output files in its sandbox, and keep a descriptor of each for the readers of the logs.

If a job or a peer replaces such a file later, the job still writes to the old one, and readers still read that one.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress

from pagent.unix import O_CLOEXEC, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK


class KeptLogs:
    """The output files of one sandbox by their names. All methods may be called in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, int] = {}

    def make(self, name: str, folder: int) -> int:
        """Make the file, empty, in the folder of a descriptor; return a descriptor to append to it.

        ValueError or OSError if the name is that of a link, a folder or no regular file. A file that has other
        names too is left to them and replaced by a new one.
        """
        descriptor = _make(folder, name)
        try:
            self._keep(name, folder, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _keep(self, name: str, folder: int, descriptor: int) -> None:
        reading = os.open(name, os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, dir_fd=folder)
        if not os.path.samestat(os.fstat(reading), os.fstat(descriptor)):
            os.close(reading)
            raise ValueError(f"not the file that was made: {name!r}")
        with self._lock:
            before = self._kept.pop(name, -1)
            self._kept[name] = reading
        if before >= 0:
            os.close(before)

    def open(self, name: str) -> int:
        """Return a descriptor of the caller's own. FileNotFoundError if there is no such file."""
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            return os.dup(kept)

    def size_of(self, name: str) -> int:
        """Return the size of one file, 0 if there is none."""
        with self._lock:
            kept = self._kept.get(name)
            return 0 if kept is None else os.fstat(kept).st_size

    def size(self) -> int:
        """Return the size of all files together."""
        with self._lock:
            return sum(os.fstat(descriptor).st_size for descriptor in self._kept.values())

    def names(self) -> Sequence[str]:
        """Return the names, sorted."""
        with self._lock:
            return sorted(self._kept)

    def close(self) -> None:
        """Close all descriptors."""
        with self._lock:
            kept, self._kept = self._kept, {}
        for descriptor in kept.values():
            os.close(descriptor)


def _make(folder: int, name: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | O_NOFOLLOW | O_CLOEXEC
    with suppress(FileExistsError):
        return os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
    try:
        # Non-blocking: a FIFO would wait for its reader. Truncated only once it is known to be a regular file.
        descriptor = os.open(name, flags | os.O_CREAT | O_NONBLOCK | O_NOCTTY, 0o644, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.ENODEV):
            raise ValueError(f"not a regular file: {name!r}") from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"not a regular file: {name!r}")
        if found.st_nlink == 1:
            os.ftruncate(descriptor, 0)
            os.set_blocking(descriptor, True)
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    os.unlink(name, dir_fd=folder)
    return os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
