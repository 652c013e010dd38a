"""Parse a tar archive as it arrives: bytes in any split become entries and their data.

It reads the formats in use: v7, ustar (POSIX.1-1988), pax (POSIX.1-2001), GNU long names and base-256 numbers, and
sparse files in all four forms that GNU tar has written. Names are returned as the archive has them; `unpack` checks
them.

Sans-I/O: the parser is a generator that is resumed with each block of input. It is written as a program that reads a
file, yields its events, and yields None where it needs more input.
"""

from __future__ import annotations

import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final

from pagent import limits
from pagent.files.pax import Overrides, Records, clamped_ns, number, records, text
from pagent.files.sparse import Extents, check_extents, old_gnu_extension, old_gnu_header, parse_map

_BLOCK: Final = 512

_FILE_TYPES: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE)
#: Types of entries without data, whatever their size field says.
_TYPES_WITHOUT_DATA: Final = (
    tarfile.DIRTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)

_LINK_TYPES: Final = {tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "hardlink"}

#: Keywords of a global header that apply to all entries after it.
_GLOBAL: Final = frozenset({"path", "size", "mtime"})
#: Records that one entry may have. Those of several headers in a row are added up.
_RECORDS_MAX: Final = 2 * limits.ARCHIVE_EXTENTS + 64


@dataclass(slots=True)
class Entry:
    """An entry of the archive. After a file follow its :class:`Data` and :class:`EntryEnd`.

    ``size`` is the file's, holes included; ``mode`` as the archive has it. ``target`` is the target of a symbolic link,
    or the first name of the file that a hard link names again.
    """

    name: str
    kind: str  # 'file', 'dir', 'link', 'hardlink' or 'other'
    size: int
    mode: int
    mtime_ns: int
    target: str = ""


@dataclass(slots=True)
class Data:
    """Bytes of the file at an offset; offsets only grow, and leave holes in a sparse file."""

    offset: int
    data: bytes


@dataclass(slots=True)
class EntryEnd:
    """The file is complete."""


Event = Entry | Data | EntryEnd
#: None: more input is needed.
_Parser = Generator[Event | None, None, None]


class TarReader:
    """Takes blocks by :meth:`feed`, then :meth:`finish`.

    ValueError if it is not a tar, or broken; not usable after that.
    """

    def __init__(self) -> None:
        self._input = b""
        self._at = 0
        self._parser = self._parse()
        self._entries = 0
        self._complete = False  # the end marker was read
        self._globals: dict[str, str] = {}

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events in ``data``, to be exhausted before the next call.

        What follows the archive's end is dropped.
        """
        assert self._at == len(self._input), "the events of the last input are not exhausted"
        self._input, self._at = data, 0
        if self._complete:
            self._at = len(data)
            return
        for event in self._parser:
            if event is None:
                return
            yield event

    def finish(self) -> None:
        """End the input. ValueError unless the archive is complete."""
        if not self._complete:
            raise ValueError("the archive is truncated" if self._entries else "not a tar archive: it is empty")

    # --- the parser -------------------------------------------------------------------------------

    def _parse(self) -> _Parser:
        extended: Records = []
        long_name: str | None = None
        long_link: str | None = None
        while True:
            block = yield from self._exactly(_BLOCK)
            header = self._header(block)
            if header is None:
                break
            self._entries += 1
            if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                extended += records((yield from self._extension(header)))
            elif header.type == tarfile.XGLTYPE:
                found = records((yield from self._extension(header)))
                self._globals.update((keyword, value) for keyword, value in found if keyword in _GLOBAL)
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                long_name = text((yield from self._extension(header)).split(b"\0", 1)[0])
            elif header.type == tarfile.GNUTYPE_LONGLINK:
                long_link = text((yield from self._extension(header)).split(b"\0", 1)[0])
            else:
                over = Overrides([*self._globals.items(), *extended], long_name, long_link)
                yield from self._member(header, block, over)
                extended, long_name, long_link = [], None, None
            if len(extended) > _RECORDS_MAX:
                raise ValueError("the archive has too many extended headers in a row")
        self._complete = True
        self._at = len(self._input)

    def _header(self, block: bytes) -> tarfile.TarInfo | None:
        """Return the header in a block; None for the block of zeros that ends an archive."""
        if not block.strip(b"\0"):
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            if not self._entries:
                raise ValueError("not a tar archive") from None
            raise ValueError(f"the archive is corrupt: {error}") from None
        if header.size < 0:
            raise ValueError("the archive is corrupt: an entry of negative size")
        return header

    def _extension(self, header: tarfile.TarInfo) -> Generator[None, None, bytes]:
        if header.size > limits.ARCHIVE_HEADER_MAX:
            raise ValueError(f"the archive has an extended header of {header.size} bytes")
        data = yield from self._exactly(header.size)
        yield from self._skip(-header.size % _BLOCK)
        return data

    def _member(self, header: tarfile.TarInfo, block: bytes, over: Overrides) -> _Parser:
        name = over.name or header.name
        mtime_ns = clamped_ns(int(header.mtime) * 10**9 if over.mtime_ns is None else over.mtime_ns)
        kind = _kind(header.type, name)
        stored = header.size if over.size is None else over.size
        if kind != "file":
            yield Entry(name, kind, 0, header.mode, mtime_ns, over.target or header.linkname)
            if header.type not in _TYPES_WITHOUT_DATA:
                yield from self._skip(stored + -stored % _BLOCK)
            return
        padding = -stored % _BLOCK
        size, extents = stored, [(0, stored)]
        if header.type == tarfile.GNUTYPE_SPARSE:
            size, extents = yield from self._old_sparse(block)
        elif over.sparse_size is not None:
            size = over.sparse_size
            map_bytes = 0
            if over.extents is None:
                map_bytes, extents = yield from self._sparse_map(stored)
            else:
                extents = over.extents
            stored -= map_bytes
        extents = check_extents(extents, size, stored)
        yield Entry(name, kind, size, header.mode, mtime_ns)
        yield from self._data(stored, extents)
        yield from self._skip(padding)
        yield EntryEnd()

    def _old_sparse(self, block: bytes) -> Generator[None, None, tuple[int, Extents]]:
        size, extents, more = old_gnu_header(block)
        while more:
            further, more = old_gnu_extension((yield from self._exactly(_BLOCK)))
            extents += further
            if len(extents) > limits.ARCHIVE_EXTENTS:
                raise ValueError("the archive has a sparse file with too many extents")
        return size, extents

    def _sparse_map(self, stored: int) -> Generator[None, None, tuple[int, Extents]]:
        """Read a map of version 1.0: decimal numbers, one a line, their count first, in whole blocks before data."""
        gathered = bytearray()
        lines = 0
        wanted = 1
        while lines < wanted:
            if len(gathered) + _BLOCK > min(stored, limits.ARCHIVE_HEADER_MAX):
                raise ValueError("the archive is corrupt: a sparse file's map does not end")
            block = yield from self._exactly(_BLOCK)
            first = lines == 0
            gathered += block
            lines += block.count(b"\n")
            if first and lines:
                wanted += 2 * number(text(bytes(gathered.split(b"\n", 1)[0])))
        numbers = [number(text(bytes(line))) for line in gathered.split(b"\n", wanted)[1:wanted]]
        return len(gathered), parse_map(numbers)

    def _data(self, stored: int, extents: Extents) -> _Parser:
        for start, count in extents:
            offset, left = start, count
            stored -= count
            while left:
                part = self._available(left)
                if part:
                    yield Data(offset, part)
                    offset += len(part)
                    left -= len(part)
                else:
                    yield None
        yield from self._skip(stored)

    # --- the input --------------------------------------------------------------------------------

    def _available(self, size: int) -> bytes:
        part = self._input[self._at : self._at + size]
        self._at += len(part)
        return part

    def _exactly(self, size: int) -> Generator[None, None, bytes]:
        part = self._available(size)
        if len(part) == size:
            return part
        gathered = bytearray(part)
        while len(gathered) < size:
            yield None
            gathered += self._available(size - len(gathered))
        return bytes(gathered)

    def _skip(self, size: int) -> Generator[None, None, None]:
        while size:
            step = min(size, len(self._input) - self._at)
            self._at += step
            size -= step
            if size:
                yield None


def _kind(kind: bytes, name: str) -> str:
    # v7 has no type for folders: a slash ends their names.
    if kind == tarfile.DIRTYPE or (kind == tarfile.AREGTYPE and name.endswith("/")):
        return "dir"
    return "file" if kind in _FILE_TYPES else _LINK_TYPES.get(kind, "other")
