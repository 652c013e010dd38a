"""Share the descriptor of a folder among threads. It is closed after the last use, once the folder is removed.

The number of a descriptor may be used again after its close. A look-up that still used the old number would then reach
another file.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Self


class SharedDescriptor:
    """The descriptor of one folder. All methods may be called in any thread, also at the same time.

    It is its own context: one that is a generator takes four more function calls for each use.

    :param on_close: is called when the descriptor is closed.
    """

    def __init__(self, descriptor: int, on_close: Callable[[], None]) -> None:
        # For life.
        self._lock = threading.Lock()
        self._on_close = on_close
        # Until the close.
        self._descriptor = descriptor
        self._users = 0
        self._removed = False

    @property
    def removed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._removed

    def using(self, path: str) -> Self:
        """Return the context of one use, to be entered now. FileNotFoundError, with ``path``, after :meth:`close`."""
        with self._lock:
            if self._removed:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            self._users += 1
        return self

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            self._close_unused()

    def close(self) -> None:
        """Refuse further uses, and close the descriptor after the last one."""
        with self._lock:
            self._removed = True
            self._close_unused()

    def _close_unused(self) -> None:
        if self._removed and self._users == 0 and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._on_close()
