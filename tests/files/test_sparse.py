from __future__ import annotations

import pytest

from pagent import limits
from pagent.files.sparse import check_extents, old_gnu_extension, old_gnu_header, parse_map


def field(value: int) -> bytes:
    return f"{value:011o}".encode() + b"\0"


def test_maps() -> None:
    assert parse_map([]) == []
    assert parse_map([0, 5, 9, 1]) == [(0, 5), (9, 1)]
    with pytest.raises(ValueError, match="map of 3 numbers"):
        parse_map([1, 2, 3])
    with pytest.raises(ValueError, match="numbers"):
        parse_map([0, 0] * (limits.ARCHIVE_EXTENTS + 1))


def test_extents_are_checked() -> None:
    assert check_extents([(0, 5), (5, 0), (9, 1)], 10, 6) == [(0, 5), (9, 1)]
    for extents, size, stored in [
        ([(0, 5), (4, 1)], 10, 6),  # they overlap
        ([(5, 1), (0, 1)], 10, 6),  # out of order
        ([(9, 2)], 10, 6),  # beyond the file
        ([(11, 0)], 10, 6),
        ([(0, 7)], 10, 6),  # more than is stored
    ]:
        with pytest.raises(ValueError, match="corrupt"):
            check_extents(extents, size, stored)


def test_old_gnu_headers() -> None:
    block = bytearray(512)
    block[386:410] = field(512) + field(100)
    block[410:434] = field(2048) + field(0)
    block[482] = 1
    block[483:495] = field(4096)
    assert old_gnu_header(bytes(block)) == (4096, [(512, 100)], True)
    further = bytearray(512)
    further[480:504] = b"\x80" + (1 << 40).to_bytes(11, "big") + field(7)
    assert old_gnu_extension(bytes(further)) == ([(1 << 40, 7)], False)
    further[0:3] = b"9 x"
    with pytest.raises(ValueError, match="not octal"):
        old_gnu_extension(bytes(further))
