"""Where a file has data: the holes of a sparse one take no blocks, and need not be read or sent."""

from __future__ import annotations

import errno
import os
from typing import Final

from pagent import limits
from pagent.files.sparse import Extents
from pagent.limits import KIB

#: Holes of at least this size are sent and kept as holes, where both ends are ours. Shorter ones cost less as zeros.
HOLE_LEAST: Final = 64 * KIB
#: Bytes of work that a hole counts for: a peer may send nothing but holes.
HOLE_COST: Final = 4 * KIB


_BLOCK: Final = 512  # the unit of st_blocks, on every file system


def missing(status: os.stat_result) -> int:
    """Bytes of a file that have no blocks, by its status: its holes, about."""
    return max(0, status.st_size - getattr(status, "st_blocks", status.st_size) * _BLOCK)


def check_holes(status: os.stat_result, wanted: int, path: str) -> None:
    """ValueError if ``wanted`` bytes of a file would be more zeros than anybody reads, out of holes."""
    holes = min(missing(status), wanted)
    if holes > limits.HOLES_READ_MAX:
        raise ValueError(
            f"{path!r} has {holes} bytes of holes, more than the {limits.HOLES_READ_MAX} that are read at once"
        )


def hole_at(file: int, offset: int, end: int) -> int:
    """Length of the hole at ``offset``, ``end`` at most; 0 for data, a short hole, or where the system tells none."""
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
    """Length of the data at ``offset``, ``end`` at most, with the short holes in it."""
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
    """Offset and length of all data of a file; the rest of a file of too many pieces is one of them."""
    found: Extents = []
    at = 0
    while at < size:
        at += hole_at(file, at, size)
        if at < size:
            length = data_at(file, at, size) if len(found) < limits.ARCHIVE_EXTENTS - 1 else size - at
            found.append((at, length))
            at += length
    return found
