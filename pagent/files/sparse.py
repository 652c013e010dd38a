"""Parse maps of sparse files in tar archives (GNU tar manual, "Storing Sparse Files"): where their data belongs."""

from __future__ import annotations

from typing import Final

from pagent import limits

#: (offset in the file, number of bytes), in the order of the archive.
Extents = list[tuple[int, int]]

_FIELD: Final = 12


def parse_map(numbers: list[int]) -> Extents:
    """Return the extents of a list of offset, size, offset, size, ... ValueError for an odd or too large count."""
    if len(numbers) % 2 or len(numbers) > 2 * limits.ARCHIVE_EXTENTS:
        raise ValueError(f"the archive has a sparse file with a map of {len(numbers)} numbers")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def check_extents(extents: Extents, size: int, stored: int) -> Extents:
    """Return the extents without empty ones. ValueError unless they are in order, disjoint, and within the two sizes.

    ``size``: bytes of the file. ``stored``: bytes of its data in the archive.
    """
    end = total = 0
    for offset, count in extents:
        if offset < end:
            raise ValueError("the archive is corrupt: a sparse file's map is out of order")
        end = offset + count
        total += count
    if end > size or total > stored:
        raise ValueError("the archive is corrupt: a sparse file's map goes beyond it")
    return [(offset, count) for offset, count in extents if count]


def old_gnu_header(block: bytes) -> tuple[int, Extents, bool]:
    """Return real size, first four extents, and whether a block of extents follows, of a header of type ``S``."""
    return _number(block[483:495]), _pairs(block[386:482]), block[482] != 0


def old_gnu_extension(block: bytes) -> tuple[Extents, bool]:
    """Return the 21 extents of such a block, and whether another follows."""
    return _pairs(block[:504]), block[504] != 0


def _pairs(fields: bytes) -> Extents:
    numbers = [_number(fields[at : at + _FIELD]) for at in range(0, len(fields), _FIELD)]
    return [(offset, count) for offset, count in parse_map(numbers) if count]


def _number(field: bytes) -> int:
    """Return a number of octal digits, or of base 256 if the first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise ValueError("the archive is corrupt: a number in a sparse file's map is not octal") from None
