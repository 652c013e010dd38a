"""Choose the entries of an archive: all below a folder of a sandbox, or the entries there that the caller names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pagent import limits
from pagent.files.entries import SandboxEntry, is_shortage, reason_of
from pagent.files.listing import entry_at
from pagent.files.sandbox_access import SandboxAccess
from pagent.files.walk import walk

_VANISHED: Final = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True)
class ArchiveSelection:
    """The entries below ``path``, or those called ``names`` there. All are in the form of `pagent.names`.

    ``within``: the folder that the names in the archive begin with, empty for none.
    """

    path: str = ""
    names: Sequence[str] | None = None
    within: str = ""

    @property
    def _prefix(self) -> str:
        path = os.path.normpath(self.path)
        return "" if path == "." else f"{path}/"

    def entries(self, sandbox: SandboxAccess) -> Iterator[SandboxEntry]:
        """Yield the entries, with their paths in the sandbox. Blocking. OSError or ValueError of the folder itself."""
        if self.names is None:
            yield from walk(sandbox, self.path, most=limits.ARCHIVE_ENTRIES)
            return
        os.close(sandbox.open_dir(self.path))
        for name in self.names:
            yield _named(sandbox, f"{self._prefix}{name}")

    def name_of(self, path: str) -> str:
        """Return the name that masks match: relative to the folder."""
        return path[len(self._prefix) :]

    def archived(self, path: str) -> str:
        """Return the name in the archive."""
        return f"{self.within}/{self.name_of(path)}" if self.within else self.name_of(path)


#: The whole sandbox.
ALL: Final = ArchiveSelection()


def _named(sandbox: SandboxAccess, path: str) -> SandboxEntry:
    """Return the entry with this path; its ``error`` says why it cannot be archived."""
    try:
        return entry_at(sandbox, path)
    except _VANISHED:
        return SandboxEntry(path, "other", error="it does not exist any more")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and is_shortage(error):
            raise
        return SandboxEntry(path, "other", error=reason_of(error))
