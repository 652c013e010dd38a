"""Write headers of tar archives: ustar, with pax records where these are needed (POSIX.1-2001)."""

from __future__ import annotations

import posixpath
import tarfile
from typing import Final

from pagent.files.sparse import Extents

_BLOCK: Final = tarfile.BLOCKSIZE
_SECOND_NS: Final = 10**9


def header(path: str, kind: str, mode: int, size: int, mtime_ns: int, target: str = "") -> bytes:
    """Return the header of a ``file``, ``dir`` or symbolic ``link``.

    Names are those of the system (surrogateescape).
    """
    entry = _entry(path, mode, mtime_ns)
    entry.type = {"dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}.get(kind, tarfile.REGTYPE)
    entry.size, entry.linkname = size, target
    return _bytes(entry)


def sparse_header(path: str, mode: int, size: int, mtime_ns: int, extents: Extents) -> bytes:
    """Return the header of a sparse file and the map before its data: GNU tar's format 1.0 for pax archives."""
    numbers = [len(extents), *(number for extent in extents for number in extent)]
    table = "".join(f"{number}\n" for number in numbers).encode()
    table += bytes(-len(table) % _BLOCK)
    folder, name = posixpath.split(path)
    # Programs that do not know sparse files unpack the data under this name, which marks it as sparse.
    stored_as = posixpath.join(folder, "GNUSparseFile.0", name)
    fields = {"major": "1", "minor": "0", "name": path, "realsize": str(size)}
    # To Python's tarfile the last name counts.
    records = {"path": stored_as, **{f"GNU.sparse.{field}": value for field, value in fields.items()}}
    entry = _entry(stored_as, mode, mtime_ns, records)
    entry.size = len(table) + sum(length for _, length in extents)
    return _bytes(entry) + table


def _entry(path: str, mode: int, mtime_ns: int, records: dict[str, str] | None = None) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mode, entry.mtime = mode, mtime_ns // _SECOND_NS
    if mtime_ns % _SECOND_NS:
        whole, fraction = divmod(abs(mtime_ns), _SECOND_NS)
        sign = "-" if mtime_ns < 0 else ""
        records = {**(records or {}), "mtime": f"{sign}{whole}.{fraction:09}".rstrip("0")}
    entry.pax_headers = records or {}
    return entry


def _bytes(entry: tarfile.TarInfo) -> bytes:
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
