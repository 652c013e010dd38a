"""Keep answers of agents without flow control for slow clients, in unlinked files of the folder ``spool.root``."""

from __future__ import annotations

import errno
import os
import tempfile
import threading

from pagent.config.router import SpoolSettings
from pagent.errors import ConfigError
from pagent.rpc.spool import SpoolOpener
from pagent.rpc.spool_files import SPOOL_FILE
from pagent.runtime.threads import ThreadPool

_THREADS = 2


class FrontSpools:
    """Opens the files, as long as all of them together can hold no more than ``spool.max_all`` bytes.

    ConfigError if ``spool.root`` is not a folder that this process can write to.
    """

    def __init__(self, settings: SpoolSettings) -> None:
        if settings.root is not None and not (settings.root.is_dir() and os.access(settings.root, os.W_OK | os.X_OK)):
            raise ConfigError(f"spool.root: {settings.root} is not a folder that can be written to")
        self._root = settings.root
        self._most = settings.max_all
        #: Bytes that one file may come to.
        self._file = min(SPOOL_FILE, settings.max)
        self._lock = threading.Lock()
        self._open_files: dict[int, tuple[int, int]] = {}  # by descriptor: device and inode
        self.opener = SpoolOpener(self._open, settings.max, ThreadPool("spool", _THREADS))

    def _open(self) -> int:
        """Return the descriptor of a new file; OSError if there is no room for one. Called in threads."""
        with self._lock:
            self._forget_closed()
            if (len(self._open_files) + 1) * self._file > self._most:
                raise OSError(errno.ENOSPC, "spool.max_all bytes are spooled already")
            with tempfile.TemporaryFile(prefix="pagent-spool-", dir=self._root) as file:
                descriptor = os.dup(file.fileno())
            self._open_files[descriptor] = _identity(descriptor)
            return descriptor

    def _forget_closed(self) -> None:
        """Forget closed files: a spool closes its files itself, and the kernel may use their numbers again."""
        for descriptor, identity in list(self._open_files.items()):
            try:
                is_open = _identity(descriptor) == identity
            except OSError:
                is_open = False
            if not is_open:
                del self._open_files[descriptor]


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
