"""What is in a sandbox, told to a peer: one entry, and the entries of a folder in pages.

An entry is told as ``{'path', 'type': 'file'|'dir'|'link'|'other', 'size', 'mode', 'mtime'}``: path relative to the
sandbox, size in bytes, mode the permission bits, mtime in seconds since the epoch. Links are told, never followed. An
entry, or a folder, that cannot be read has ``'error'`` as well.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from pagent import limits
from pagent.files.holes import check_holes
from pagent.files.pieces import DISK_TURN, DISK_TURN_ENTRIES, Pieces
from pagent.files.sandboxed import Sandbox
from pagent.files.walk import Found, walk
from pagent.names import from_wire, is_unfinished, to_wire
from pagent.runtime.threads import Threads

#: About what an entry comes to when packed, its path and its error apart.
_ENTRY_BYTES: Final = 80


async def file_stat(threads: Threads, sandbox: Sandbox, path: str, *, sha256: bool = False) -> dict[str, Any]:
    """One entry; ``''`` is the sandbox. With ``sha256`` the digest of a regular file stands in it, in hex.

    OSError: there is none; with ``sha256`` also IsADirectoryError, or ValueError for what is no regular file, or has
    more holes than are read.
    """
    pieces = Pieces(threads, lambda: None)
    answer = (await pieces.run(_stat, sandbox, path)).as_dict()
    if sha256:
        answer["sha256"] = await _digest(threads, sandbox, path)
    return answer


async def file_list(
    threads: Threads,
    sandbox: Sandbox,
    path: str = "",
    *,
    recursive: bool = False,
    after: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """The entries of a folder, sorted, with ``recursive`` all beneath it.

    ``limit`` asks for a page of at most so many, which may be fewer than there are: the next page begins ``after`` the
    path of the last one, and an empty one is the end. Without it, ValueError if they are too many for one answer.
    TypeError, ValueError, OSError.
    """
    most = _checked_page(after, limit)
    pieces = Pieces(threads, lambda: None)
    page: list[dict[str, Any]] = []
    left = limits.LISTING_BYTES
    entries = (found for found in walk(sandbox, path, recursive=recursive, after=after) if not _is_hidden(found))
    while turn := await pieces.run(_turn, entries, min(DISK_TURN_ENTRIES, most + 1 - len(page))):
        for entry in turn:
            told = entry.as_dict()
            left -= len(told["path"].encode()) + len(told.get("error", "")) + _ENTRY_BYTES
            if len(page) < most and left >= 0:
                page.append(told)
            elif limit is not None:
                return page
            else:
                raise ValueError(f"{path!r} holds more than one answer can tell: ask for pages with limit and after")
    return page


def _checked_page(after: object, limit: object) -> int:
    if after is not None and not isinstance(after, str):
        raise TypeError(f"after must be a str, not {type(after).__name__}")
    if limit is None:
        return limits.LISTING_ENTRIES
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"limit must be an int, not {type(limit).__name__}")
    if limit < 1:
        raise ValueError(f"limit must be 1 or more: {limit}")
    return min(limit, limits.LISTING_ENTRIES)


def _turn(entries: Iterator[Found], most: int) -> list[Found]:
    return list(islice(entries, most))


def _is_hidden(found: Found) -> bool:
    return is_unfinished(found.path)


async def file_remove(threads: Threads, sandbox: Sandbox, path: str) -> dict[str, Any]:
    """Delete a file, a link (not what it leads to) or an empty folder; what it was.

    OSError: ENOTEMPTY and others. ValueError: it is the agent's own.
    """
    return (await Pieces(threads, lambda: None).run(_remove, sandbox, path)).as_dict()


def _stat(sandbox: Sandbox, path: str) -> Found:
    if path in ("", "."):
        folder = sandbox.open_dir(path)
        try:
            return Found.of("", os.fstat(folder))
        finally:
            os.close(folder)
    with _parent(sandbox, path) as (folder, name):
        return Found.of(_normal(path), sandbox.stat_at(folder, name))


def _remove(sandbox: Sandbox, path: str) -> Found:
    sandbox.check_target(path)
    with _parent(sandbox, path) as (folder, name):
        found = Found.of(_normal(path), sandbox.stat_at(folder, name))
        (os.rmdir if found.kind == "dir" else os.unlink)(name, dir_fd=folder)
        return found


def _normal(path: str) -> str:
    """As a listing has it."""
    return to_wire(from_wire(os.path.normpath(path)))


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
            status = os.fstat(opened[0])
            check_holes(status, status.st_size, path)
        data = os.read(opened[0], DISK_TURN)
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
