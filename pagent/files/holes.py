"""Where a file has data. The holes of a sparse file take no blocks, and need not be read or sent."""

from __future__ import annotations

import errno
import os
from typing import Final

from pagent import limits
from pagent.files.sparse import Extents
from pagent.limits import KIB

#: Holes of at least this size are sent and kept as holes, if the peer has the extension ``holes``. Shorter ones cost
#: less as zeros.
HOLE_LEAST: Final = 64 * KIB
#: Bytes of work that a hole counts for: a peer may send nothing but holes.
HOLE_COST: Final = 4 * KIB


_BLOCK: Final = 512  # the unit of st_blocks, on every file system


def missing(status: os.stat_result) -> int:
    """Return about how many bytes of a file are holes: bytes without blocks, by its status."""
    return max(0, status.st_size - getattr(status, "st_blocks", status.st_size) * _BLOCK)


def check_holes(status: os.stat_result, wanted: int, path: str) -> None:
    """Raise ValueError if ``wanted`` bytes of a file may be more zeros, out of holes, than HOLES_READ_MAX."""
    holes = min(missing(status), wanted)
    if holes > limits.HOLES_READ_MAX:
        raise ValueError(
            f"{path!r} has {holes} bytes of holes, more than the {limits.HOLES_READ_MAX} that are read at once"
        )


def hole_at(file: int, offset: int, end: int) -> int:
    """Return the length of the hole at ``offset``, up to ``end``. 0 for data, a short hole, or an unknown place."""
    try:
        data = os.lseek(file, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:  # there is no data after the offset
            return 0
        data = end
    except AttributeError:  # this system has no SEEK_DATA
        return 0
    hole = min(data, end) - offset
    return hole if hole >= HOLE_LEAST or (hole > 0 and offset + hole == end) else 0


def data_at(file: int, offset: int, end: int) -> int:
    """Return the length of the data at ``offset``, up to ``end``, with the short holes in it."""
    at = offset
    while at < end:
        try:
            at = os.lseek(file, at, os.SEEK_HOLE)
        except (OSError, AttributeError):
            return end - offset
        if at < end and hole_at(file, at, end):
            return at - offset
        if at >= end:
            break
        at = min(_after_short_hole(file, at, end), end)
    return end - offset


def _after_short_hole(file: int, at: int, end: int) -> int:
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError:
        return end


def extents_of(file: int, size: int) -> Extents:
    """Return the extents of a file's data. The last one is the rest of a file that has too many."""
    found: Extents = []
    at = 0
    while at < size:
        at += hole_at(file, at, size)
        if at < size:
            length = data_at(file, at, size) if len(found) < limits.ARCHIVE_EXTENTS - 1 else size - at
            found.append((at, length))
            at += length
    return found
