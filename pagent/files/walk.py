"""All that is beneath a folder of a sandbox, in one order that a later walk can continue.

A hostile job may have made millions of names in one folder, or thousands of folders in each other. So a walk holds at
most ``WALK_NAMES`` of them: it keeps, for each folder that it is in, the name that it has come to, and reads the next
smallest names after that one when it needs them.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

from pagent import limits
from pagent.files.holes import missing
from pagent.files.pieces import DISK_TURN_ENTRIES
from pagent.files.sandboxed import Sandbox
from pagent.names import from_wire, to_wire

#: How a folder that the job has just deleted, or put a file or a link in the place of, shows itself.
_VANISHED: Final = (FileNotFoundError, NotADirectoryError, ValueError)

_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT})


class Found(NamedTuple):
    """One entry of a sandbox. ``kind`` is ``file``, ``dir``, ``link`` or ``other``, ``path`` as the wire has it.

    ``error``: why the entry, or what is in the folder, cannot be read.
    """

    path: str
    kind: str
    size: int = 0
    mode: int = 0
    mtime_ns: int = 0
    holes: int = 0
    error: str | None = None

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> Found:
        mode = status.st_mode
        kind = (
            "file" if stat.S_ISREG(mode) else "dir" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "other"
        )
        holes = missing(status) if kind == "file" else 0
        return cls(path, kind, status.st_size, stat.S_IMODE(mode), status.st_mtime_ns, holes)

    def as_dict(self) -> dict[str, Any]:
        """For a message."""
        mtime = self.mtime_ns // 10**9 + 1e-9 * (self.mtime_ns % 10**9)
        told = {"path": self.path, "type": self.kind, "size": self.size, "mode": self.mode, "mtime": mtime}
        return told if self.error is None else {**told, "error": self.error}


def is_shortage(error: OSError) -> bool:
    """Is it the agent that lacks something, rather than one entry that cannot be read?"""
    return error.errno in _SHORTAGES


def reason_of(error: Exception) -> str:
    """Why an entry cannot be read, without a path."""
    if isinstance(error, OSError):
        if error.errno == errno.EXDEV:
            return "another file system is mounted there"
        return error.strerror or str(error)
    return str(error)


def walk(
    sandbox: Sandbox, path: str = "", *, recursive: bool = True, most: int | None = None, after: str | None = None
) -> Iterator[Found]:
    """All entries beneath the folder ``path``, sorted by name, each folder before what is in it.

    ``after``: the path of the entry that the walk goes on after. Blocking; holds no descriptor between two entries.
    What vanishes meanwhile is left out, and what cannot be read has its ``error``. ValueError if there are more than
    ``most`` entries; OSError if ``path`` itself cannot be read.
    """
    stack = _resumed(sandbox, path, recursive, after)
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


def _resumed(sandbox: Sandbox, path: str, recursive: bool, after: str | None) -> list[_Folder]:
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
        except (OSError, ValueError):  # gone, no folder, or told as unreadable before
            break
        kept.append(folder)
    return kept


def _descend(sandbox: Sandbox, stack: list[_Folder], found: Found) -> Found:
    """Put the folder on the stack; the entry, with the error if it cannot be read."""
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
    """A folder that a walk is in: ``after`` is the name that it has come to."""

    def __init__(self, sandbox: Sandbox, path: str) -> None:
        self._sandbox = sandbox
        self._path = path
        self.prefix = f"{path}/" if path else ""
        self.after = ""
        self._names: list[tuple[str, bool]] = []  # the next ones, the last first, and whether each is a folder
        self._statuses: deque[Found] = deque()  # of the very next
        self._complete = False

    @property
    def held(self) -> int:
        return len(self._names) + len(self._statuses)

    def forget(self) -> None:
        """Hold nothing, until more is asked for."""
        self._names.clear()
        self._statuses.clear()
        self._complete = False

    def next(self) -> Found | None:
        """The next entry, None after the last."""
        while not self._statuses:
            if not self._names:
                if self._complete:
                    return None
                try:
                    self.read()
                except (OSError, ValueError):  # it could be read before: the job has changed it
                    return None
                continue
            try:
                self._look()
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and is_shortage(error):
                    raise
                return None
        found = self._statuses.popleft()
        self.after = found.path[len(self.prefix) :]
        return found

    def read(self) -> None:
        """Read the names after the one that the walk has come to. OSError, ValueError."""
        most = limits.WALK_NAMES
        with _opened(self._sandbox, self._path) as folder, os.scandir(folder) as entries:
            named = ((to_wire(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries)
            names = heapq.nsmallest(most, (one for one in named if one[0] > self.after))
        self._complete = len(names) < most
        self._names = names[::-1]

    def _look(self) -> None:
        batch = self._names[-DISK_TURN_ENTRIES:]
        with _opened(self._sandbox, self._path) as folder:
            for name, is_folder in reversed(batch):
                with suppress(FileNotFoundError):
                    self._statuses.append(self._status(folder, name, is_folder))
        del self._names[-len(batch) :]
        self.after = batch[0][0]

    def _status(self, folder: int, name: str, is_folder: bool) -> Found:
        path = self.prefix + name
        try:
            if is_folder:  # another file system may be mounted on it, and hang
                status = self._sandbox.stat_at(folder, from_wire(name))
            else:
                status = os.stat(from_wire(name), dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            raise
        except OSError as error:
            if is_shortage(error):
                raise
            return Found(path, "dir" if is_folder else "other", error=reason_of(error))
        return Found.of(path, status)


@contextmanager
def _opened(sandbox: Sandbox, path: str) -> Iterator[int]:
    folder = sandbox.open_dir(path)
    try:
        yield folder
    finally:
        os.close(folder)
