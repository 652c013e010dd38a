"""Unpack an archive into files, folders and links of a sandbox as it arrives. Blocking, in turns of bounded work.

Every name is opened through the sandbox, so links of the job cannot lead outside, and every file appears whole. Folders
get their modes and times at the end: each file made in a folder changes its time, and its mode may forbid to make
files.

A hard link becomes a copy of the file that it names. A symbolic link is made if it cannot lead outside (`links`). Other
kinds, and entries that would replace the agent's own files, are left out and named in ``skipped``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from pagent import limits
from pagent.files.decompress import Decompressor
from pagent.files.disk_work import DISK_PIECE, DISK_TURN, DISK_TURN_ENTRIES
from pagent.files.entries import Skipped
from pagent.files.holes import HOLE_COST, data_at, hole_at
from pagent.files.links import make_link, stays_below
from pagent.files.newfile import NewFile
from pagent.files.sandbox_access import SandboxAccess
from pagent.files.tarstream import Data, Entry, Event, TarReader
from pagent.limits import KIB
from pagent.names import to_wire

#: Bytes that the beginning of a compressed member counts for in a turn: it takes as long, and a member may be empty.
ARCHIVE_MEMBER_COST: Final = 16 * KIB


#: Memory that Python needs to remember a folder, without its name.
_FOLDER_BYTES = 200


class Unpacker:
    """Takes pieces of the archive: :meth:`push` one, then :meth:`turn` until it returns False. :meth:`end` likewise.

    ValueError for an archive that is broken, leads outside or breaks a limit; OSError from the system. Earlier entries
    stay. Always :meth:`close` it. ``within``: the folder of the sandbox that it is unpacked into.
    """

    def __init__(self, sandbox: SandboxAccess, within: str = "") -> None:
        self._sandbox = sandbox
        self._within = within
        self._input = Decompressor()
        self._reader = TarReader()
        self._events: Iterator[Event] = iter(())
        self._ended = False

        self.skipped = Skipped()
        self._new: NewFile | None = None
        self._entry = Entry("", "other", 0, 0, 0)
        self._position = 0
        self._source = -1  # the file that is being copied for a hard link

        self._received = 0
        self._produced = 0
        self._entries = 0
        self._bytes = 0
        self._copied = 0  # for hard links
        self._folders: dict[str, tuple[int, int]] = {}
        self._memory = 0

    def push(self, data: bytes) -> None:
        """Add a piece of the archive, only after :meth:`turn` has returned False."""
        self._received += len(data)
        self._input.push(data)

    def end(self) -> None:
        """End the input."""
        self._ended = True
        self._input.end()

    def turn(self) -> bool:
        """Work for one turn; return whether there is more to do with the input so far."""
        left = DISK_TURN
        entries = self._entries + DISK_TURN_ENTRIES
        while left > 0 and self._entries < entries:
            if self._source >= 0:
                left -= self._copy(left)
                continue
            event = next(self._events, None)
            if event is not None:
                self._apply(event)
                continue
            if self._input.is_exhausted:
                return self._ended and self._finish()
            members = self._input.members
            block = self._input.pull(DISK_PIECE)
            left -= len(block) + (self._input.members - members) * ARCHIVE_MEMBER_COST
            self._check_ratio(len(block))
            self._events = self._reader.feed(block)
        return True

    def close(self) -> None:
        """Delete the unfinished file, if there is one."""
        self._end_copy()
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

    def _apply(self, event: Event) -> None:
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
        self._count(entry.size)
        path = self._path(entry.name)
        self._entry, self._position = entry, 0
        if self._sandbox.is_reserved(path):
            self.skipped.add(path, "it belongs to the agent")
        elif entry.kind == "dir":
            self._make_folder(path, entry)
        elif entry.kind == "file":
            self._new = NewFile(self._sandbox, path, 0o600)
        elif entry.kind == "hardlink":
            self._begin_copy(path, entry.target)
        elif entry.kind == "link":
            self._make_link(path, entry.target)
        else:
            self.skipped.add(path, "neither a file nor a folder nor a link")

    def _path(self, name: str) -> str:
        """Return the path in the sandbox of a name in the archive. ValueError."""
        path = _checked_path(name)
        return f"{self._within}/{path}" if self._within and path else path or self._within

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > limits.ARCHIVE_BYTES:
            raise ValueError(f"the archive unpacks to more than {limits.ARCHIVE_BYTES} bytes")

    def _make_link(self, path: str, target: str) -> None:
        if not stays_below(path, target):
            self.skipped.add(path, f"a symbolic link that may lead outside: {to_wire(target)}")
        elif not make_link(self._sandbox, path, target):
            self.skipped.add(path, "a symbolic link in a folder that is reached by one")

    # --- hard links -------------------------------------------------------------------------------

    def _begin_copy(self, path: str, target: str) -> None:
        try:
            source = self._path(target)
            if source == path:
                return
            self._source = self._sandbox.open_read(source)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
            self.skipped.add(path, f"a hard link to an entry that is not a file of the sandbox: {to_wire(target)}")
            return
        size = os.fstat(self._source).st_size
        self._count(size)
        self._copied += size
        if self._copied > max(limits.ARCHIVE_RATIO_FROM, limits.ARCHIVE_RATIO * self._received):
            raise ValueError(f"the archive's hard links are copies of more than {limits.ARCHIVE_RATIO} times its size")
        self._new = NewFile(self._sandbox, path, 0o600)
        self._entry.size = size

    def _copy(self, most: int) -> int:
        """Copy some of the file that a hard link names, with its holes; return the cost of the work."""
        assert self._new is not None
        end = self._entry.size
        if hole := hole_at(self._source, self._position, end):
            self._new.skip(hole)
            self._position += hole
            return HOLE_COST
        wanted = data_at(self._source, self._position, min(end, self._position + min(most, DISK_PIECE)))
        data = os.pread(self._source, wanted, self._position)
        if not data:  # its end, also if the job has shortened it
            self._end_copy()
            self._commit()
            return HOLE_COST
        self._new.write(data)
        self._position += len(data)
        return len(data)

    def _end_copy(self) -> None:
        if self._source >= 0:
            os.close(self._source)
            self._source = -1

    # --- folders and files ------------------------------------------------------------------------

    def _make_folder(self, path: str, entry: Entry) -> None:
        if not path:
            return  # the sandbox itself stays as it is
        if path not in self._folders:
            self._memory += _FOLDER_BYTES + len(path)
            if self._memory > limits.ARCHIVE_MEMORY:
                raise ValueError("the archive has too many folders")
        self._folders[path] = entry.mode & 0o777, entry.mtime_ns
        parent, name = self._sandbox.open_parent(path, create=True)
        try:
            self._sandbox.make_dir(parent, name)
        except FileExistsError:
            os.close(self._sandbox.open_dir(path))  # NotADirectoryError if it is not a folder
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(parent)

    def _write(self, event: Data) -> None:
        if self._new is None:
            return  # the entry is skipped
        if event.offset != self._position:
            self._new.seek(event.offset)
        self._new.write(event.data)
        self._position = event.offset + len(event.data)

    def _commit(self) -> None:
        if self._new is None:
            return
        entry = self._entry
        if entry.size > self._position:
            self._new.seek(entry.size)
        self._new.commit(mode=entry.mode, mtime_ns=entry.mtime_ns)
        self._new = None

    # --- the end ----------------------------------------------------------------------------------

    def _finish(self) -> bool:
        self._input.check_complete()
        self._reader.finish()
        for _ in range(DISK_TURN_ENTRIES):
            if not self._folders:
                return False
            # The last first: a folder comes before its content, and its mode may lock the agent out.
            path, (mode, mtime_ns) = self._folders.popitem()
            with suppress(FileNotFoundError, NotADirectoryError, ValueError):  # the job has removed or replaced it
                folder = self._sandbox.open_dir(path)
                try:
                    os.fchmod(folder, mode)
                    os.utime(folder, ns=(mtime_ns, mtime_ns))
                finally:
                    os.close(folder)
        return bool(self._folders)


def _checked_path(name: str) -> str:
    """Return the name normalised, as on the wire; ``''`` is the sandbox. ValueError for one that no archive has."""
    name = to_wire(name)
    if name.startswith("/"):
        raise ValueError(f"file path must be relative: archive entry {name!r}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"path leaves the sandbox: archive entry {name!r}")
    if len(parts) > limits.ARCHIVE_DEPTH:
        raise ValueError(f"the archive has folders more than {limits.ARCHIVE_DEPTH} deep")
    return "/".join(parts)
