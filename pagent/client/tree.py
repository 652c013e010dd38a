"""The entries of a folder that is copied, and the parts in which they are copied.

Small files and links are sent in archives of bounded size, because a call for each would take a round trip for each; an
archive whose link is lost is sent again. Large files are sent one by one, because such a transfer can be continued.
Folders come last: each file that is made in a folder changes the time of the folder, and the mode of the folder may
forbid to make files.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pagent.files.arguments import is_relative_name
from pagent.files.entries import SandboxEntry, Skipped
from pagent.limits import KIB, MIB

#: Entries and bytes of one archive. With 16 MiB the round trip after it is short beside its transfer.
BATCH_ENTRIES: Final = 1000
BATCH_BYTES: Final = 16 * MIB
#: Size from which a file is copied by a call of its own, which can be continued.
LARGE: Final = 8 * MIB
#: Size from which a file that seems to be at the target is compared with it: to copy a smaller one costs no more.
COMPARED: Final = 64 * KIB
#: Digests that are asked for at a time.
COMPARED_AT_ONCE: Final = 8

#: Times in listings are floats, which have about this precision.
_SAME_TIME_NS: Final = 1000
_KINDS: Final = ("file", "dir", "link", "other")
_READ_BYTES: Final = MIB


@dataclass
class Tree:
    """The entries below a folder, with paths relative to it, in the form of `pagent.names`."""

    folders: list[SandboxEntry] = field(default_factory=list)
    small: list[SandboxEntry] = field(default_factory=list)
    large: list[SandboxEntry] = field(default_factory=list)
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(entry.size for entry in (*self.small, *self.large))

    def add(self, entry: SandboxEntry) -> None:
        """Add an entry in the order of a walk. One that cannot be copied is skipped."""
        if entry.error is not None:
            self.skipped.add(entry.path, entry.error)
        elif entry.kind == "other":
            self.skipped.add(entry.path, "neither a file nor a folder nor a link")
        if entry.kind == "dir":
            self.folders.append(entry)
        elif entry.kind != "other" and entry.error is None:
            (self.large if entry.kind == "file" and entry.size >= LARGE else self.small).append(entry)

    def without(self, paths: set[str]) -> Tree:
        """Return the same tree without some files."""
        small, large = ([each for each in part if each.path not in paths] for part in (self.small, self.large))
        return Tree(self.folders, small, large, self.skipped)


def batches(entries: Iterable[SandboxEntry]) -> Iterator[list[SandboxEntry]]:
    """Yield the entries in parts of one archive."""
    batch: list[SandboxEntry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) >= BATCH_ENTRIES or size + entry.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


def folder_batches(folders: Sequence[SandboxEntry]) -> Iterator[list[SandboxEntry]]:
    """Yield folders in parts of one archive, those below others first: a folder gets its mode after its content."""
    for end in range(len(folders), 0, -BATCH_ENTRIES):
        yield list(folders[max(0, end - BATCH_ENTRIES) : end])


def listed_entries(listing: Iterable[Mapping[str, Any]], prefix: str) -> Iterator[SandboxEntry]:
    """Yield the entries of a listing, with paths relative to ``prefix``. ValueError for one that no agent has."""
    for found in listing:
        yield _listed_entry(found, prefix)


def _listed_entry(found: Mapping[str, Any], prefix: str) -> SandboxEntry:
    path, kind, size, mode, mtime = (found.get(name) for name in ("path", "type", "size", "mode", "mtime"))
    if not (isinstance(path, str) and path.startswith(prefix) and is_relative_name(path[len(prefix) :])):
        raise ValueError(f"the agent has listed an invalid path: {path!r}")
    if not isinstance(mtime, (int, float)) or not math.isfinite(mtime):
        raise ValueError(f"the agent has listed an invalid time of {path!r}")
    if not (kind in _KINDS and type(size) is int and size >= 0 and type(mode) is int):
        raise ValueError(f"the agent has listed an invalid entry: {path!r}")
    error = found.get("error")
    reason = str(error) if error is not None else None
    return SandboxEntry(path[len(prefix) :], kind, size, mode & 0o777, round(mtime * 10**9), error=reason)


def seems_same(entry: SandboxEntry, other: SandboxEntry | None) -> bool:
    """Return whether a file may be at the target already: its size, mode and time are the same."""
    return (
        other is not None
        and entry.kind == other.kind == "file"
        and entry.size == other.size >= COMPARED
        and (entry.mode & 0o777) == (other.mode & 0o777)
        and abs(entry.mtime_ns - other.mtime_ns) < _SAME_TIME_NS
    )


def digest_of(descriptor: int) -> str:
    """Return the SHA-256 digest of an open file, in hex, and close it."""
    digest = hashlib.sha256()
    try:
        while data := os.read(descriptor, _READ_BYTES):
            digest.update(data)
    finally:
        os.close(descriptor)
    return digest.hexdigest()
