"""Describe the content of a sandbox to a peer: one entry, or the entries of a folder in pages.

An entry is ``{'path', 'type': 'file'|'dir'|'link'|'other', 'size', 'mode', 'mtime'}``: the path relative to the
sandbox, the size in bytes, the permission bits, the time in seconds since the epoch. Links are described, never
followed. An entry, or a folder, that cannot be read has an ``'error'`` as well.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from pagent import limits
from pagent.files.arguments import checked_limit
from pagent.files.disk_work import DISK_TURN, DISK_TURN_ENTRIES, DiskWork
from pagent.files.entries import SandboxEntry
from pagent.files.holes import check_holes
from pagent.files.sandbox_access import SandboxAccess
from pagent.files.walk import walk
from pagent.names import from_wire, is_unfinished, to_wire
from pagent.runtime.threads import Threads

#: Packed size of an entry without its path and error, about.
_ENTRY_BYTES: Final = 80


async def file_stat(threads: Threads, sandbox: SandboxAccess, path: str, *, sha256: bool = False) -> dict[str, Any]:
    """Return one entry; ``''`` is the sandbox. With ``sha256`` it has the digest of a regular file, in hex.

    OSError if there is none. With ``sha256`` IsADirectoryError for a folder, and ValueError for anything else that is
    not a regular file, or has more holes than are read.
    """
    work = DiskWork(threads, lambda: None)
    answer = (await work.run(entry_at, sandbox, path)).as_dict()
    if sha256:
        answer["sha256"] = await _digest(threads, sandbox, path)
    return answer


async def file_list(
    threads: Threads,
    sandbox: SandboxAccess,
    path: str = "",
    *,
    recursive: bool = False,
    after: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Return the entries of a folder, sorted; with ``recursive`` also those of all folders below it.

    ``limit`` asks for a page of at most that many entries, and may get fewer. The next page begins ``after`` the path
    of the last entry, and an empty page is the end. Without a limit, ValueError if one answer cannot hold all entries.
    TypeError, ValueError, OSError.
    """
    if after is not None and not isinstance(after, str):
        raise TypeError(f"after must be a str, not {type(after).__name__}")
    most = checked_limit(limit)
    work = DiskWork(threads, lambda: None)
    page: list[dict[str, Any]] = []
    left = limits.LISTING_BYTES
    entries = (found for found in walk(sandbox, path, recursive=recursive, after=after) if not _is_hidden(found))
    while turn := await work.run(_turn, entries, min(DISK_TURN_ENTRIES, most + 1 - len(page))):
        for entry in turn:
            fields = entry.as_dict()
            left -= len(fields["path"].encode()) + len(fields.get("error", "")) + _ENTRY_BYTES
            if len(page) < most and left >= 0:
                page.append(fields)
            elif limit is not None:
                return page
            else:
                raise ValueError(
                    f"{path!r} has more entries than one answer can hold: ask for pages with limit and after"
                )
    return page


def _turn(entries: Iterator[SandboxEntry], most: int) -> list[SandboxEntry]:
    return list(islice(entries, most))


def _is_hidden(found: SandboxEntry) -> bool:
    return is_unfinished(found.path)


def entry_at(sandbox: SandboxAccess, path: str) -> SandboxEntry:
    """Return the entry with this path; ``''`` is the sandbox. Blocking. OSError, ValueError."""
    if path in ("", "."):
        folder = sandbox.open_dir(path)
        try:
            return SandboxEntry.of("", os.fstat(folder))
        finally:
            os.close(folder)
    with parent(sandbox, path) as (folder, name):
        return SandboxEntry.of(normal(path), sandbox.stat_at(folder, name))


def normal(path: str) -> str:
    """Return the path as a listing has it."""
    return to_wire(from_wire(os.path.normpath(path)))


@contextmanager
def parent(sandbox: SandboxAccess, path: str) -> Iterator[tuple[int, str]]:
    """Yield the result of `open_parent`; an OSError of the block names ``path``."""
    folder, name = sandbox.open_parent(path, create=False)
    try:
        yield folder, name
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(folder)


async def _digest(threads: Threads, sandbox: SandboxAccess, path: str) -> str:
    """Return the SHA-256 of a file's bytes up to its end, read in turns."""
    opened: list[int] = []
    digest = hashlib.sha256()

    def turn() -> bool:
        if not opened:
            opened.append(sandbox.open_read(path))
            status = os.fstat(opened[0])
            check_holes(status, status.st_size, path)
        data = os.read(opened[0], DISK_TURN)
        digest.update(data)
        return bool(data)

    def clean_up() -> None:
        for descriptor in opened:
            os.close(descriptor)

    work = DiskWork(threads, clean_up)
    try:
        while await work.run(turn):
            pass
    finally:
        await work.end()
    return digest.hexdigest()
