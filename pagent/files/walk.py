"""Walk over all entries below a folder of a sandbox, in an order that a later walk can continue.

A malicious job may have made millions of names in one folder, or thousands of folders in each other. So a walk holds at
most ``WALK_NAMES`` of them. For each folder that it is in, it keeps the name that it has reached, and reads the next
smallest names after that one when it needs them.
"""

from __future__ import annotations

import heapq
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from pagent import limits
from pagent.files.disk_work import DISK_TURN_ENTRIES
from pagent.files.entries import SandboxEntry, is_shortage, reason_of
from pagent.files.sandbox_access import SandboxAccess
from pagent.names import from_wire, to_wire

#: Errors of a folder that the job has just deleted, or replaced by a file or a link.
_VANISHED: Final = (FileNotFoundError, NotADirectoryError, ValueError)


def walk(
    sandbox: SandboxAccess, path: str = "", *, recursive: bool = True, most: int | None = None, after: str | None = None
) -> Iterator[SandboxEntry]:
    """Yield all entries below the folder ``path``, sorted by name, each folder before its content.

    ``after``: the path of the entry after which the walk continues. Blocking; it holds no descriptor between two
    entries. An entry that vanishes meanwhile is left out, and one that cannot be read has its ``error``. ValueError if
    there are more than ``most`` entries; OSError if ``path`` itself cannot be read.
    """
    stack = _stack_after(sandbox, path, recursive, after)
    left = most
    while stack:
        found = stack[-1].next()
        if found is None:
            stack.pop()
            continue
        if left is not None:
            left -= 1
            if left < 0:
                raise ValueError(f"more than {most} entries")
        if recursive and found.kind == "dir" and found.error is None:
            found = _descend(sandbox, stack, found)
        yield found


def _stack_after(sandbox: SandboxAccess, path: str, recursive: bool, after: str | None) -> list[_Folder]:
    top = os.path.normpath(path) if path not in ("", ".") else ""
    stack = [_Folder(sandbox, top)]
    if after is None:
        stack[0].read()
        return stack
    if top and not after.startswith(f"{top}/"):
        raise ValueError(f"after must be the path of an entry of {path!r}, as a listing has it: {after!r}")
    for name in after[len(top) + 1 if top else 0 :].split("/"):
        stack[-1].after = name
        if not recursive:
            break
        stack.append(_Folder(sandbox, stack[-1].prefix + name))
    stack[0].read()
    kept = stack[:1]
    for folder in stack[1:]:
        try:
            folder.read()
        except (OSError, ValueError):  # it vanished, is not a folder, or was reported as unreadable before
            break
        kept.append(folder)
    return kept


def _descend(sandbox: SandboxAccess, stack: list[_Folder], found: SandboxEntry) -> SandboxEntry:
    """Put the folder on the stack; return its entry, with the error if it cannot be read."""
    below = _Folder(sandbox, found.path)
    try:
        below.read()
    except _VANISHED:
        return found
    except OSError as error:
        if is_shortage(error):
            raise
        return found._replace(error=reason_of(error))
    if sum(folder.held for folder in stack) + below.held > limits.WALK_NAMES:
        for folder in stack:
            folder.forget()
    stack.append(below)
    return found


class _Folder:
    """A folder that a walk is in. ``after`` is the name that the walk has reached."""

    def __init__(self, sandbox: SandboxAccess, path: str) -> None:
        self._sandbox = sandbox
        self._path = path
        self.prefix = f"{path}/" if path else ""
        self.after = ""
        self._names: list[tuple[str, bool]] = []  # the next ones in reverse order, and whether each is a folder
        self._entries: deque[SandboxEntry] = deque()  # the first of them, with their status
        self._complete = False

    @property
    def held(self) -> int:
        return len(self._names) + len(self._entries)

    def forget(self) -> None:
        """Hold no names until the next one is needed."""
        self._names.clear()
        self._entries.clear()
        self._complete = False

    def next(self) -> SandboxEntry | None:
        """Return the next entry, None after the last."""
        while not self._entries:
            if not self._names:
                if self._complete:
                    return None
                try:
                    self.read()
                except (OSError, ValueError):  # the job has changed it since it was read
                    return None
                continue
            try:
                self._read_statuses()
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and is_shortage(error):
                    raise
                return None
        found = self._entries.popleft()
        self.after = found.path[len(self.prefix) :]
        return found

    def read(self) -> None:
        """Read the names after the one that the walk has reached. OSError, ValueError."""
        most = limits.WALK_NAMES
        with _opened(self._sandbox, self._path) as folder, os.scandir(folder) as entries:
            named = ((to_wire(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries)
            names = heapq.nsmallest(most, (one for one in named if one[0] > self.after))
        self._complete = len(names) < most
        self._names = names[::-1]

    def _read_statuses(self) -> None:
        batch = self._names[-DISK_TURN_ENTRIES:]
        with _opened(self._sandbox, self._path) as folder:
            for name, is_folder in reversed(batch):
                with suppress(FileNotFoundError):
                    self._entries.append(self._status(folder, name, is_folder))
        del self._names[-len(batch) :]
        self.after = batch[0][0]

    def _status(self, folder: int, name: str, is_folder: bool) -> SandboxEntry:
        path = self.prefix + name
        try:
            if is_folder:  # a file system that hangs may be mounted on it
                status = self._sandbox.stat_at(folder, from_wire(name))
            else:
                status = os.stat(from_wire(name), dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            raise
        except OSError as error:
            if is_shortage(error):
                raise
            return SandboxEntry(path, "dir" if is_folder else "other", error=reason_of(error))
        return SandboxEntry.of(path, status)


@contextmanager
def _opened(sandbox: SandboxAccess, path: str) -> Iterator[int]:
    folder = sandbox.open_dir(path)
    try:
        yield folder
    finally:
        os.close(folder)
