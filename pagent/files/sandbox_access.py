"""The interface of a sandbox for transfers: descriptors of a peer's paths. `jobs.sandbox` implements it."""

from __future__ import annotations

import os
import threading
from typing import Protocol


class SandboxAccess(Protocol):
    """Opens relative paths below one folder. ValueError for a path that leaves it, OSError from the system.

    ``replacing`` is held while a file is compared with a condition and then replaced or removed.
    """

    replacing: threading.Lock

    def open_dir(self, path: str) -> int:
        """Return a descriptor of a folder that can be listed; ``''`` is the sandbox itself."""
        ...

    def open_read(self, path: str) -> int:
        """Return a descriptor of a regular file. IsADirectoryError for a folder, ValueError for anything else."""
        ...

    def open_parent(self, path: str, *, create: bool) -> tuple[int, str]:
        """Return a descriptor (``dir_fd``) of the folder that ``path`` is in, and the last name of ``path``."""
        ...

    def stat_at(self, place: int, name: str) -> os.stat_result:
        """Return the status of ``name`` in the folder with the descriptor ``place``. Links are not followed."""
        ...

    def is_direct(self, place: int, path: str) -> bool:
        """Return whether ``place`` is the folder that ``path`` is in, reached without a link."""
        ...

    def is_reserved(self, path: str) -> bool:
        """Return whether ``path`` is the agent's own, which a peer may not write or remove."""
        ...

    def check_target(self, path: str) -> None:
        """Raise ValueError if ``path`` is reserved."""
        ...

    def make_dir(self, place: int, name: str) -> None:
        """Make a folder in the one with the descriptor ``place``."""
        ...

    def hand_over(self, descriptor: int) -> None:
        """Give a new file or folder to the user that owns the sandbox."""
        ...

    def open_spool(self) -> int:
        """Return a descriptor of a file without a name, open for reading and writing."""
        ...
