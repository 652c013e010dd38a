"""Entries of a sandbox as they are reported to a peer: found ones, and skipped ones with the reason."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, Final, NamedTuple

from pagent import limits
from pagent.files.holes import missing

_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT})


class SandboxEntry(NamedTuple):
    """One entry of a sandbox. ``kind`` is ``file``, ``dir``, ``link`` or ``other``, ``path`` as on the wire.

    ``error`` says why the entry, or the content of the folder, cannot be read.
    """

    path: str
    kind: str
    size: int = 0
    mode: int = 0
    mtime_ns: int = 0
    holes: int = 0
    error: str | None = None

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> SandboxEntry:
        """Return the entry of a path that has this status."""
        mode = status.st_mode
        kind = (
            "file" if stat.S_ISREG(mode) else "dir" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "other"
        )
        holes = missing(status) if kind == "file" else 0
        return cls(path, kind, status.st_size, stat.S_IMODE(mode), status.st_mtime_ns, holes)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as a message has it (docs/contract.rst, "Transfers")."""
        mtime = self.mtime_ns // 10**9 + 1e-9 * (self.mtime_ns % 10**9)
        fields = {"path": self.path, "type": self.kind, "size": self.size, "mode": self.mode, "mtime": mtime}
        return fields if self.error is None else {**fields, "error": self.error}


class Skipped:
    """Entries that an archive does not hold, or that were not unpacked: counted, and the first of them named."""

    def __init__(self) -> None:
        self.count = 0
        self.names: list[str] = []

    def add(self, path: str, reason: str) -> None:
        """Count one more entry, and name it if there is room."""
        self.count += 1
        if len(self.names) < limits.SKIPPED_NAMES:
            self.names.append(f"{path}: {reason}")

    def as_dict(self) -> dict[str, Any]:
        """Return a result: ``{'skipped': number, 'names': ['path: reason', ...]}``, at most 100 names."""
        return {"skipped": self.count, "names": list(self.names)}

    def __str__(self) -> str:
        first = "; ".join(name[:200] for name in self.names[:5])
        return f"{self.count} skipped: {first}{', ...' if self.count > 5 else ''}"


def is_shortage(error: OSError) -> bool:
    """Return whether the agent lacks something (descriptors, memory, disk), rather than one entry being unreadable."""
    return error.errno in _SHORTAGES


def reason_of(error: Exception) -> str:
    """Return why an entry cannot be read, without a path."""
    if isinstance(error, OSError):
        if error.errno == errno.EXDEV:
            return "another file system is mounted there"
        return error.strerror or str(error)
    return str(error)
