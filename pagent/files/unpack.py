"""An archive's bytes to files and folders of a sandbox, as they come. Blocking, in turns of bounded work.

Every name goes through the sandbox, so links of the job lead nowhere; every file appears whole. Folders get their
modes and times at the end, since each file made in one changes its time, and its mode may forbid to make any.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from pagent import limits
from pagent.files.decompress import Decompressor
from pagent.files.newfile import NewFile
from pagent.files.sandboxed import Sandbox
from pagent.files.tarstream import Data, Entry, Event, TarReader

#: What Python takes to remember a folder, its name apart.
_FOLDER_BYTES = 200


class Unpacker:
    """Push a piece of the archive, then :meth:`turn` until it says False; at last :meth:`end` and the same again.

    ValueError for an archive that is broken, leads outside or breaks a limit, OSError of the system. What was unpacked
    before stays; :meth:`close` always.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._input = Decompressor()
        self._reader = TarReader()
        self._events: Iterator[Event] = iter(())
        self._ended = False

        self._new: NewFile | None = None
        self._entry = Entry("", "other", 0, 0, 0.0)
        self._position = 0

        self._received = 0
        self._produced = 0
        self._entries = 0
        self._bytes = 0
        self._folders: dict[str, tuple[int, float]] = {}
        self._memory = 0

    def push(self, data: bytes) -> None:
        """More of the archive; only once :meth:`turn` has said False."""
        self._received += len(data)
        self._input.push(data)

    def end(self) -> None:
        """All of it has come."""
        self._ended = True
        self._input.end()

    def turn(self) -> bool:
        """Work for a while; True if there is more to do with what has come."""
        left = limits.DISK_TURN
        entries = self._entries + limits.DISK_TURN_ENTRIES
        while left > 0 and self._entries < entries:
            event = next(self._events, None)
            if event is not None:
                self._take(event)
                continue
            if self._input.is_used_up:
                return self._ended and self._finish()
            members = self._input.members
            block = self._input.pull(limits.DISK_PIECE)
            left -= len(block) + (self._input.members - members) * limits.ARCHIVE_MEMBER_COST
            self._check_ratio(len(block))
            self._events = self._reader.feed(block)
        return True

    def close(self) -> None:
        """Delete what is unfinished."""
        if self._new is not None:
            self._new.discard()
            self._new = None

    def _check_ratio(self, size: int) -> None:
        self._produced += size
        if (
            self._input.is_compressed
            and self._produced > limits.ARCHIVE_RATIO_FROM
            and self._produced > limits.ARCHIVE_RATIO * self._received
        ):
            raise ValueError(f"the archive unpacks to more than {limits.ARCHIVE_RATIO} times its size")

    # --- entries ----------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        if isinstance(event, Entry):
            self._begin(event)
        elif isinstance(event, Data):
            self._write(event)
        else:
            self._commit()

    def _begin(self, entry: Entry) -> None:
        self._entries += 1
        if self._entries > limits.ARCHIVE_ENTRIES:
            raise ValueError(f"the archive has more than {limits.ARCHIVE_ENTRIES} entries")
        self._bytes += entry.size
        if self._bytes > limits.ARCHIVE_BYTES:
            raise ValueError(f"the archive unpacks to more than {limits.ARCHIVE_BYTES} bytes")
        path = _checked_path(entry.name)
        if entry.kind == "dir":
            self._make_folder(path, entry)
        elif entry.kind == "file":
            self._new = NewFile(self._sandbox, path, 0o600)
            self._entry, self._position = entry, 0

    def _make_folder(self, path: str, entry: Entry) -> None:
        if not path:
            return  # the sandbox itself stays as it is
        if path not in self._folders:
            self._memory += _FOLDER_BYTES + len(path)
            if self._memory > limits.ARCHIVE_MEMORY:
                raise ValueError("the archive has too many folders")
        self._folders[path] = entry.mode & 0o777, entry.mtime
        parent, name = self._sandbox.open_parent(path, create=True)
        try:
            self._sandbox.make_dir(parent, name)
        except FileExistsError:
            os.close(self._sandbox.open_dir(path))  # NotADirectoryError if it is something else
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(parent)

    def _write(self, event: Data) -> None:
        assert self._new is not None
        if event.offset != self._position:
            self._new.seek(event.offset)
        self._new.write(event.data)
        self._position = event.offset + len(event.data)

    def _commit(self) -> None:
        assert self._new is not None
        entry = self._entry
        hole = entry.size if entry.size != self._position else None
        self._new.commit(size=hole, mode=entry.mode, mtime=entry.mtime)
        self._new = None

    # --- the end ----------------------------------------------------------------------------------

    def _finish(self) -> bool:
        self._input.check_complete()
        self._reader.finish()
        for _ in range(limits.DISK_TURN_ENTRIES):
            if not self._folders:
                return False
            # The last first: what is inside comes after its folder, which may be closed to us afterwards.
            path, (mode, mtime) = self._folders.popitem()
            with suppress(FileNotFoundError, NotADirectoryError, ValueError):  # the job was quicker
                folder = self._sandbox.open_dir(path)
                try:
                    os.fchmod(folder, mode)
                    os.utime(folder, (mtime, mtime))
                finally:
                    os.close(folder)
        return bool(self._folders)


def _checked_path(name: str) -> str:
    """Plain components joined, ``''`` for the sandbox; ValueError for a name that no archive should have."""
    if name.startswith("/"):
        raise ValueError(f"file path must be relative: archive entry {name!r}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"path leaves the sandbox: archive entry {name!r}")
    if len(parts) > limits.ARCHIVE_DEPTH:
        raise ValueError(f"the archive has folders more than {limits.ARCHIVE_DEPTH} deep")
    return "/".join(parts)
