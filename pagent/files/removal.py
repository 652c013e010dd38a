"""Delete an entry of a sandbox, or a folder with all its content (docs/contract.rst, "Transfers")."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from pagent.files.condition import Condition
from pagent.files.disk_work import DISK_TURN_ENTRIES, DiskWork
from pagent.files.entries import SandboxEntry
from pagent.files.listing import entry_at, normal, parent
from pagent.files.sandbox_access import SandboxAccess
from pagent.files.walk import walk
from pagent.names import is_unfinished
from pagent.runtime.threads import Threads

#: Entries that are listed before they are deleted, from the last to the first. It is more than the folders in each
#: other that a path can name, so at least the last one can be deleted.
_AT_ONCE: Final = 16 * DISK_TURN_ENTRIES
_NO_CONDITION: Final = Condition()


async def file_remove(
    threads: Threads,
    sandbox: SandboxAccess,
    path: str,
    *,
    condition: Condition = _NO_CONDITION,
    recursive: bool = False,
) -> dict[str, Any]:
    """Delete a file, a link (not its target) or an empty folder; return the entry that it was.

    ``recursive``: delete the content of a folder first; an error leaves the rest of it. OSError, for example ENOTEMPTY.
    ValueError if an entry is the agent's own. FileChangedError if the file does not match ``condition``.
    """
    work = DiskWork(threads, lambda: None)
    if recursive and (await work.run(_kind_of_target, sandbox, path)) == "dir":
        await _empty(work, sandbox, path)
    return (await work.run(_remove, sandbox, path, condition)).as_dict()


async def _empty(work: DiskWork, sandbox: SandboxAccess, path: str) -> None:
    """Delete the content of a folder. A folder that the job keeps filling is left, with the OSError of its removal."""
    progress = True
    while progress and (found := await _first_entries(work, sandbox, path)):
        progress = False
        for end in range(len(found), 0, -DISK_TURN_ENTRIES):
            progress |= await work.run(_remove_all, sandbox, found[max(0, end - DISK_TURN_ENTRIES) : end])


async def _first_entries(work: DiskWork, sandbox: SandboxAccess, path: str) -> list[SandboxEntry]:
    """Return the first entries of a walk, each folder before its content."""
    entries, found = walk(sandbox, path), list[SandboxEntry]()
    while len(found) < _AT_ONCE and (turn := await work.run(lambda: [*islice(entries, DISK_TURN_ENTRIES)])):
        found += turn
    return found


# --- in a thread ------------------------------------------------------------------------------------


def _kind_of_target(sandbox: SandboxAccess, path: str) -> str:
    sandbox.check_target(path)
    return entry_at(sandbox, path).kind


def _remove_all(sandbox: SandboxAccess, entries: list[SandboxEntry]) -> bool:
    """Delete entries from the last to the first; return whether there was one that is gone now.

    A folder that is not empty stays: not all of its content is listed yet.
    """
    removed = False
    for entry in reversed(entries):
        if not is_unfinished(entry.path):  # an upload into the folder ends with it
            sandbox.check_target(entry.path)
        with suppress(FileNotFoundError):
            try:
                _delete(sandbox, entry.path)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
            else:
                removed = True
    return removed


def _remove(sandbox: SandboxAccess, path: str, condition: Condition) -> SandboxEntry:
    sandbox.check_target(path)
    with sandbox.replacing:
        condition.check(sandbox, path)
        return _delete(sandbox, path)


def _delete(sandbox: SandboxAccess, path: str) -> SandboxEntry:
    with parent(sandbox, path) as (folder, name):
        found = SandboxEntry.of(normal(path), sandbox.stat_at(folder, name))
        (os.rmdir if found.kind == "dir" else os.unlink)(name, dir_fd=folder)
        return found
