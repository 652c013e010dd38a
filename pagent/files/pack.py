"""Pack the files, folders and symbolic links of a sandbox into a tar archive while it is sent. Blocking, in turns.

The size has to be sent first, so a walk notes the entries, and the size of their headers and data. The job may change
them meanwhile, but the archive stays valid and keeps that size. A file that grew is cut. A file that becomes shorter,
or fails, while it is read is filled up with zeros, as GNU tar does. What became shorter or vanished before its turn is
replaced by zeros after the end of the archive, where they have no meaning.

An entry that cannot be read does not fail the rest: it is named in ``skipped``.
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
from pagent.files.arguments import checked_mask
from pagent.files.disk_work import DISK_PIECE, DISK_TURN, DISK_TURN_ENTRIES
from pagent.files.entries import SandboxEntry, Skipped, is_shortage, reason_of
from pagent.files.headers import header, sparse_header
from pagent.files.holes import HOLE_LEAST, extents_of, missing
from pagent.files.sandbox_access import SandboxAccess
from pagent.files.selection import ALL, ArchiveSelection
from pagent.files.sparse import Extents
from pagent.names import from_wire, is_partial, is_unfinished

#: Two blocks of zeros end an archive, which is filled up to whole records (POSIX.1-1988; tar's default of 20 blocks).
_BLOCK: Final = tarfile.BLOCKSIZE
_RECORD: Final = tarfile.RECORDSIZE

#: A noted entry: length of its path, length of its target or map, kind, mode, size, mtime.
_NOTE: Final = struct.Struct("<HIBHqq")
_EXTENT: Final = struct.Struct("<qq")
_KINDS: Final = ("file", "dir", "link", "sparse")

_VANISHED: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError)


class Packer:
    """Call :meth:`note` until it returns False, then :meth:`read` ``size`` bytes.

    ``sparse``: all sparse files are packed as such. Otherwise those are that follow ``ARCHIVE_HOLES`` bytes of holes,
    so that the archive and its spool are not much larger than the blocks of the sandbox.
    """

    def __init__(
        self,
        sandbox: SandboxAccess,
        include_mask: str | None,
        exclude_mask: str | None,
        *,
        sparse: bool = False,
        selection: ArchiveSelection = ALL,
    ) -> None:
        # For life.
        self._sandbox = sandbox
        self._selection = selection
        self._include = checked_mask("include_mask", include_mask)
        self._exclude = checked_mask("exclude_mask", exclude_mask)
        self._holes_left = 0 if sparse else limits.ARCHIVE_HOLES
        self.size = 0
        self.skipped = Skipped()
        # The walk.
        self._found: Iterator[SandboxEntry] | None = None
        self._notes = io.BytesIO()
        # The archive.
        self._parts = self._pack()
        self._part = b""
        self._wanted = 0  # of a file's data at a time, so that no part has to be cut

    def note(self) -> bool:
        """Walk on for one turn; return whether there is more.

        ValueError: too many entries. OSError: of the sandbox itself.
        """
        if self._found is None:
            self._found = self._selection.entries(self._sandbox)
        turn = list(islice(self._found, DISK_TURN_ENTRIES))
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
        """Return the next bytes, at most ``size``; b"" at the end."""
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

    def _matches(self, found: SandboxEntry) -> bool:
        if found.kind == "file" and (is_unfinished(found.path) or is_partial(found.path)):
            return False
        name = self._selection.name_of(found.path)
        if self._exclude is not None and fnmatchcase(name, self._exclude):
            return False
        return self._include is None or fnmatchcase(name, self._include)

    def _add(self, found: SandboxEntry) -> None:
        if found.error is not None:
            self.skipped.add(found.path, found.error)
        if found.kind == "other":
            if found.error is None:
                self.skipped.add(found.path, "neither a file nor a folder nor a link")
            return
        try:
            self._note(found)
        except _VANISHED:
            return  # the job has removed or replaced it
        except OSError as error:
            if is_shortage(error):
                raise
            self.skipped.add(found.path, reason_of(error))
        if self._notes.tell() > limits.ARCHIVE_MEMORY:
            raise ValueError("the sandbox has too many entries for an archive")

    def _note(self, found: SandboxEntry) -> None:
        name, mode, mtime_ns = self._name(found.path), found.mode & 0o777, found.mtime_ns
        if found.kind == "dir":
            self._write_note("dir", found.path, mode, 0, mtime_ns)
            self.size += len(header(name, "dir", mode, 0, mtime_ns))
        elif found.kind == "link":
            target = self._read_link(found.path)
            self._write_note("link", found.path, mode, 0, mtime_ns, os.fsencode(target))
            self.size += len(header(name, "link", mode, 0, mtime_ns, target))
        elif (extents := self._extents(found)) is None:
            self._write_note("file", found.path, mode, found.size, mtime_ns)
            self.size += len(header(name, "file", mode, found.size, mtime_ns)) + found.size + -found.size % _BLOCK
        else:
            table = b"".join(_EXTENT.pack(*extent) for extent in extents)
            self._write_note("sparse", found.path, mode, found.size, mtime_ns, table)
            stored = sum(length for _, length in extents)
            self.size += len(sparse_header(name, mode, found.size, mtime_ns, extents)) + stored + -stored % _BLOCK

    def _name(self, path: str) -> str:
        """Return the name in the archive, as system calls take it."""
        return from_wire(self._selection.archived(path))

    def _write_note(self, kind: str, path: str, mode: int, size: int, mtime_ns: int, more: bytes = b"") -> None:
        encoded = path.encode()
        note = _NOTE.pack(len(encoded), len(more), _KINDS.index(kind), mode, size, mtime_ns)
        self._notes.write(note + encoded + more)

    def _read_link(self, path: str) -> str:
        folder, name = self._sandbox.open_parent(path, create=False)
        try:
            return os.readlink(name, dir_fd=folder)
        finally:
            os.close(folder)

    def _extents(self, found: SandboxEntry) -> Extents | None:
        """Return the extents of a sparse file; None for one that is packed with its holes as zeros."""
        if found.holes < HOLE_LEAST or found.holes <= self._holes_left:
            self._holes_left -= found.holes
            return None
        file = self._sandbox.open_read(found.path)
        try:
            extents = extents_of(file, found.size)
            if found.size - sum(length for _, length in extents) < HOLE_LEAST:
                if missing(os.fstat(file)) > limits.HOLES_READ_MAX:
                    raise OSError(0, f"{found.holes} bytes of it have no blocks, and the system does not say which")
                return None  # for example, its file system has compressed it
            return extents
        finally:
            os.close(file)

    # --- the archive ------------------------------------------------------------------------------

    def _pack(self) -> Generator[bytes, None, None]:
        left = self.size
        for part in self._members():
            left -= len(part)
            yield part
        while left:
            zeros = bytes(min(left, DISK_PIECE))
            left -= len(zeros)
            yield zeros

    def _members(self) -> Iterator[bytes]:
        while note := self._notes.read(_NOTE.size):
            length, more, kind, mode, size, mtime_ns = _NOTE.unpack(note)
            path = self._notes.read(length).decode()
            rest = self._notes.read(more)
            if _KINDS[kind] == "file":
                yield from self._packed_file(path, mode, size, mtime_ns, None)
            elif _KINDS[kind] == "sparse":
                yield from self._packed_file(path, mode, size, mtime_ns, list(_EXTENT.iter_unpack(rest)))
            else:
                yield header(self._name(path), _KINDS[kind], mode, 0, mtime_ns, os.fsdecode(rest))

    def _packed_file(self, path: str, mode: int, size: int, mtime_ns: int, extents: Extents | None) -> Iterator[bytes]:
        try:
            file = self._sandbox.open_read(path)
        except _VANISHED:
            return
        except OSError as error:
            if is_shortage(error):
                raise
            self.skipped.add(path, reason_of(error))
            return
        try:
            if extents is None:
                size = min(size, os.fstat(file).st_size)
                yield header(self._name(path), "file", mode, size, mtime_ns)
                extents = [(0, size)]
            else:
                yield sparse_header(self._name(path), mode, size, mtime_ns, extents)
            stored = 0
            for offset, length in extents:
                yield from self._data(file, path, offset, length)
                stored += length
        finally:
            os.close(file)
        if stored % _BLOCK:
            yield bytes(-stored % _BLOCK)

    def _data(self, file: int, path: str, offset: int, length: int) -> Iterator[bytes]:
        end = offset + length
        is_whole = True
        while offset < end:
            step = min(end - offset, self._wanted)
            data = self._read_data(file, path, offset, step) if is_whole else b""
            is_whole = bool(data)
            data = data or bytes(step)
            offset += len(data)
            yield data

    def _read_data(self, file: int, path: str, offset: int, size: int) -> bytes:
        """Return bytes of a file; none, with a note in ``skipped``, if they cannot be read."""
        try:
            data = os.pread(file, size, offset)
            reason = "it became shorter while it was read"
        except OSError as error:
            data, reason = b"", reason_of(error)
        if not data:
            self.skipped.add(path, f"{reason}; zeros stand for what could not be read")
        return data


class Compressor:
    """Compresses a packer's archive by gzip into ``spool``, since the size has to be known first.

    Call :meth:`turn` until False.
    """

    def __init__(self, packer: Packer, spool: int) -> None:
        self.size = 0
        self._packer = packer
        self._spool = spool
        self._gzip = zlib.compressobj(wbits=31)  # without a time in its header: the same for the same content

    def turn(self) -> bool:
        """Compress for one turn; return whether there is more. OSError, for example of a full disk."""
        left = DISK_TURN
        while left > 0:
            data = self._packer.read(DISK_PIECE)
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
