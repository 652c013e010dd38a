"""What a transfer needs of a sandbox: the ways from a peer's path to a descriptor. `jobs.sandbox` keeps them."""

from __future__ import annotations

import os
from typing import Protocol


class Sandbox(Protocol):
    """Opens relative paths beneath one folder; raises ValueError for a path that leaves, OSError as the system."""

    def open_dir(self, path: str) -> int:
        """Descriptor of a folder that can be listed; ``''`` is the sandbox itself."""
        ...

    def open_read(self, path: str) -> int:
        """Descriptor of a regular file; ValueError for what is none, IsADirectoryError for a folder."""
        ...

    def open_parent(self, path: str, *, create: bool) -> tuple[int, str]:
        """Descriptor (``dir_fd``) of the folder that ``path`` is in, and its last name."""
        ...

    def stat_at(self, place: int, name: str) -> os.stat_result:
        """Status of what ``name`` is in the folder that ``place`` is a descriptor of. Links are not followed."""
        ...

    def is_direct(self, place: int, path: str) -> bool:
        """Is ``place`` the folder that ``path`` is in, reached through no link?"""
        ...

    def is_reserved(self, path: str) -> bool:
        """Is ``path`` the agent's own, which a peer may not write or remove?"""
        ...

    def check_target(self, path: str) -> None:
        """ValueError if it is."""
        ...

    def make_dir(self, place: int, name: str) -> None:
        """Make a folder in the one that ``place`` is a descriptor of."""
        ...

    def hand_over(self, descriptor: int) -> None:
        """What was made becomes whose the sandbox is."""
        ...

    def open_spool(self) -> int:
        """A file without a name, open for reading and writing."""
        ...
