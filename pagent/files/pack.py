"""The files and folders of a sandbox as a tar archive, packed while it leaves. Blocking, in turns of bounded work.

The size has to be told first, so a walk notes what there is, and what its headers and data come to. The job may be
at work meanwhile; the archive stays a valid one of exactly that size: a file that grew is cut, one that becomes
shorter while it is read is filled up with zeros, as GNU tar does; what became shorter or vanished before its turn is
made up for behind the archive's end, where zeros mean nothing.
"""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zlib
from collections.abc import Generator, Iterator
from fnmatch import fnmatchcase
from itertools import islice
from typing import Final

from pagent import limits
from pagent.files.listing import Found, walk
from pagent.files.sandboxed import Sandbox
from pagent.names import is_partial, is_unfinished

#: Two blocks of zeros end an archive, which is filled up to whole records (POSIX.1-1988; tar's default of 20 blocks).
_BLOCK: Final = tarfile.BLOCKSIZE
_RECORD: Final = tarfile.RECORDSIZE

#: A noted entry: length of its path, is it a folder, mode, size, mtime.
_NOTE: Final = struct.Struct("<H?HQq")

_GONE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError)


def checked_mask(name: str, value: object) -> str | None:
    """A mask, None for none or an empty one; TypeError, ValueError."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if len(value) > limits.MASK_MAX:
        raise ValueError(f"{name} is longer than {limits.MASK_MAX} characters")
    return value or None


class Packer:
    """First :meth:`note` until it says False, then :meth:`read` ``size`` bytes."""

    def __init__(self, sandbox: Sandbox, include_mask: str | None, exclude_mask: str | None) -> None:
        self._sandbox = sandbox
        self._include = checked_mask("include_mask", include_mask)
        self._exclude = checked_mask("exclude_mask", exclude_mask)
        self.size = 0

        self._found: Iterator[Found] | None = None
        self._notes = io.BytesIO()
        self._parts = self._pack()
        self._part = b""
        self._wanted = 0  # of a file's data at a time, so that it need not be cut

    def note(self) -> bool:
        """Walk on for a while; True if there is more. ValueError: too many entries. OSError: an unreadable folder."""
        if self._found is None:
            self._found = walk(self._sandbox, most=limits.ARCHIVE_ENTRIES)
        turn = list(islice(self._found, limits.DISK_TURN_ENTRIES))
        for found in turn:
            if self._matches(found):
                self._add(found)
        if turn:
            return True
        self._notes.seek(0)
        self.size += 2 * _BLOCK
        self.size += -self.size % _RECORD
        return False

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; b"" at the end."""
        if not self._part:
            self._wanted = size
            self._part = next(self._parts, b"")
        data = self._part
        if len(data) <= size:
            self._part = b""
            return data
        self._part = data[size:]
        return data[:size]

    def close(self) -> None:
        """Close the file that is being packed."""
        self._parts.close()

    # --- the walk ---------------------------------------------------------------------------------

    def _matches(self, found: Found) -> bool:
        if found.kind == "file":
            if is_unfinished(found.path) or is_partial(found.path):
                return False
        elif found.kind != "dir":
            return False
        if self._exclude is not None and fnmatchcase(found.path, self._exclude):
            return False
        return self._include is None or fnmatchcase(found.path, self._include)

    def _add(self, found: Found) -> None:
        path = os.fsencode(found.path)
        is_folder = found.kind == "dir"
        size = 0 if is_folder else found.size
        mode, mtime = found.mode & 0o777, int(found.mtime // 1)
        self._notes.write(_NOTE.pack(len(path), is_folder, mode, size, mtime) + path)
        if self._notes.tell() > limits.ARCHIVE_MEMORY:
            raise ValueError("the sandbox has too many entries for an archive")
        self.size += len(_header(found.path, is_folder, mode, size, mtime)) + size + -size % _BLOCK

    # --- the archive ------------------------------------------------------------------------------

    def _pack(self) -> Generator[bytes, None, None]:
        left = self.size
        for part in self._members():
            left -= len(part)
            yield part
        while left:
            zeros = bytes(min(left, limits.DISK_PIECE))
            left -= len(zeros)
            yield zeros

    def _members(self) -> Iterator[bytes]:
        while note := self._notes.read(_NOTE.size):
            length, is_folder, mode, size, mtime = _NOTE.unpack(note)
            path = os.fsdecode(self._notes.read(length))
            if is_folder:
                yield _header(path, True, mode, 0, mtime)
            else:
                yield from self._packed_file(path, mode, size, mtime)

    def _packed_file(self, path: str, mode: int, size: int, mtime: int) -> Iterator[bytes]:
        try:
            file = self._sandbox.open_read(path)
        except _GONE:
            return
        try:
            size = left = min(size, os.fstat(file).st_size)
            yield _header(path, False, mode, size, mtime)
            while left:
                step = min(left, self._wanted)
                data = os.read(file, step) or bytes(step)
                left -= len(data)
                yield data
        finally:
            os.close(file)
        if size % _BLOCK:
            yield bytes(-size % _BLOCK)


class Compressor:
    """A packer's archive by gzip into ``spool``, since the size has to be known first: :meth:`turn` until False."""

    def __init__(self, packer: Packer, spool: int) -> None:
        self.size = 0
        self._packer = packer
        self._spool = spool
        self._gzip = zlib.compressobj(wbits=31)  # without a time in its header: the same for the same content

    def turn(self) -> bool:
        """Compress for a while; True if there is more. OSError: no room."""
        left = limits.DISK_TURN
        while left > 0:
            data = self._packer.read(limits.DISK_PIECE)
            if not data:
                self._write(self._gzip.flush())
                return False
            left -= len(data)
            self._write(self._gzip.compress(data))
        return True

    def _write(self, data: bytes) -> None:
        self.size += len(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._spool, rest) :]


def _header(path: str, is_folder: bool, mode: int, size: int, mtime: int) -> bytes:
    entry = tarfile.TarInfo(path)
    entry.type = tarfile.DIRTYPE if is_folder else tarfile.REGTYPE
    entry.mode, entry.size, entry.mtime = mode, size, mtime
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
