"""What is in a sandbox: one entry, a folder's entries, and the walk that archives take too.

An entry is told as ``{'path', 'type': 'file'|'dir'|'link'|'other', 'size', 'mode', 'mtime'}``: path relative to the
sandbox, size in bytes, mode the permission bits, mtime in seconds since the epoch. Links are told, never followed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Final, NamedTuple

from pagent import limits
from pagent.files.pieces import Pieces
from pagent.files.sandboxed import Sandbox
from pagent.names import is_unfinished
from pagent.runtime.threads import Threads

#: About what an entry comes to when packed, its path apart.
_ENTRY_BYTES: Final = 80


class Found(NamedTuple):
    """One entry of a sandbox. ``kind`` is ``file``, ``dir``, ``link`` or ``other``."""

    path: str
    kind: str
    size: int
    mode: int
    mtime: float

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> Found:
        mode = status.st_mode
        kind = (
            "file" if stat.S_ISREG(mode) else "dir" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "other"
        )
        return cls(path, kind, status.st_size, stat.S_IMODE(mode), status.st_mtime)

    def as_dict(self) -> dict[str, Any]:
        """For a message, where a name that is not UTF-8 shows its odd bytes as ``\\xNN``."""
        path = os.fsencode(self.path).decode("utf-8", "backslashreplace")
        return {"path": path, "type": self.kind, "size": self.size, "mode": self.mode, "mtime": self.mtime}


def walk(sandbox: Sandbox, path: str = "", *, recursive: bool = True, most: int) -> Iterator[Found]:
    """All entries beneath the folder ``path``, sorted by name, each folder before what is in it.

    Blocking; holds no descriptor between two entries. What vanishes meanwhile is left out. ValueError if there are more
    than ``most`` entries, OSError for a folder that cannot be read.
    """
    left = most
    pending = [_statuses(sandbox, path, _names(sandbox, path, most))]
    while pending:
        found = next(pending[-1], None)
        if found is None:
            pending.pop()
            continue
        left -= 1
        if left < 0:
            raise ValueError(f"more than {most} entries")
        yield found
        if recursive and found.kind == "dir":
            with suppress(*_VANISHED):
                pending.append(_statuses(sandbox, found.path, _names(sandbox, found.path, left)))


#: How a folder that the job has just deleted, or put a file or a link in the place of, shows itself.
_VANISHED: Final = (FileNotFoundError, NotADirectoryError, ValueError)


def _names(sandbox: Sandbox, path: str, most: int) -> list[str]:
    """Sorted; one more than ``most`` if there are more."""
    with _opened(sandbox, path) as folder, os.scandir(folder) as names:
        return sorted(entry.name for entry in islice(names, most + 1))


def _statuses(sandbox: Sandbox, path: str, names: list[str]) -> Iterator[Found]:
    """Looked at in batches, while they are asked for."""
    prefix = f"{os.path.normpath(path)}/" if path not in ("", ".") else ""
    for start in range(0, len(names), limits.DISK_TURN_ENTRIES):
        batch: list[Found] = []
        try:
            with _opened(sandbox, path) as folder:
                for name in names[start : start + limits.DISK_TURN_ENTRIES]:
                    with suppress(FileNotFoundError):
                        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                        batch.append(Found.of(prefix + name, status))
        except _VANISHED:
            return
        yield from batch


@contextmanager
def _opened(sandbox: Sandbox, path: str) -> Iterator[int]:
    folder = sandbox.open_dir(path)
    try:
        yield folder
    finally:
        os.close(folder)


# --- for a peer -----------------------------------------------------------------------------------


async def file_stat(threads: Threads, sandbox: Sandbox, path: str, *, sha256: bool = False) -> dict[str, Any]:
    """One entry; ``''`` is the sandbox. With ``sha256`` the digest of a regular file stands in it, in hex.

    OSError: there is none; with ``sha256`` also IsADirectoryError, or ValueError for what is no regular file.
    """
    pieces = Pieces(threads, lambda: None)
    answer = (await pieces.run(_stat, sandbox, path)).as_dict()
    if sha256:
        answer["sha256"] = await _digest(threads, sandbox, path)
    return answer


async def file_list(
    threads: Threads, sandbox: Sandbox, path: str = "", *, recursive: bool = False
) -> list[dict[str, Any]]:
    """The entries of a folder, sorted, with ``recursive`` all beneath it; ValueError if they are too many."""
    pieces = Pieces(threads, lambda: None)
    found: list[dict[str, Any]] = []
    left = limits.LISTING_BYTES
    entries = walk(sandbox, path, recursive=recursive, most=limits.LISTING_BYTES // _ENTRY_BYTES)
    while turn := await pieces.run(lambda: list(islice(entries, limits.DISK_TURN_ENTRIES))):
        for entry in turn:
            if is_unfinished(entry.path):
                continue
            found.append(entry.as_dict())
            left -= len(found[-1]["path"].encode()) + _ENTRY_BYTES
            if left < 0:
                raise ValueError(f"{path!r} holds more than one answer can tell")
    return found


async def file_remove(threads: Threads, sandbox: Sandbox, path: str) -> dict[str, Any]:
    """Delete a file, a link (not what it leads to) or an empty folder; what it was. OSError: ENOTEMPTY and others."""
    return (await Pieces(threads, lambda: None).run(_remove, sandbox, path)).as_dict()


def _stat(sandbox: Sandbox, path: str) -> Found:
    if path in ("", "."):
        with _opened(sandbox, path) as folder:
            return Found.of("", os.fstat(folder))
    with _parent(sandbox, path) as (folder, name):
        return Found.of(os.path.normpath(path), os.stat(name, dir_fd=folder, follow_symlinks=False))


def _remove(sandbox: Sandbox, path: str) -> Found:
    with _parent(sandbox, path) as (folder, name):
        found = Found.of(os.path.normpath(path), os.stat(name, dir_fd=folder, follow_symlinks=False))
        (os.rmdir if found.kind == "dir" else os.unlink)(name, dir_fd=folder)
        return found


@contextmanager
def _parent(sandbox: Sandbox, path: str) -> Iterator[tuple[int, str]]:
    """As `open_parent`; an OSError of the block names ``path``."""
    folder, name = sandbox.open_parent(path, create=False)
    try:
        yield folder, name
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(folder)


async def _digest(threads: Threads, sandbox: Sandbox, path: str) -> str:
    """SHA-256 of a file's bytes up to its end, in turns."""
    opened: list[int] = []
    digest = hashlib.sha256()

    def turn() -> bool:
        if not opened:
            opened.append(sandbox.open_read(path))
        data = os.read(opened[0], limits.DISK_TURN)
        digest.update(data)
        return bool(data)

    def clean_up() -> None:
        for descriptor in opened:
            os.close(descriptor)

    pieces = Pieces(threads, clean_up)
    try:
        while await pieces.run(turn):
            pass
    finally:
        await pieces.end()
    return digest.hexdigest()
