"""Holes of sparse files, against files of known content."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagent import limits
from pagent.files.holes import HOLE_LEAST, check_holes, data_at, extents_of, hole_at, missing

UNIT = HOLE_LEAST

Make = Callable[..., int]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes a file of a size with data at (offset, length)s."""
    made: list[int] = []

    def make_file(size: int, *extents: tuple[int, int]) -> int:
        file = os.open(tmp_path / str(len(made)), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        made.append(file)
        os.ftruncate(file, size)
        for offset, length in extents:
            os.pwrite(file, b"x" * length, offset)
        return file

    probe = make_file(4 * UNIT, (2 * UNIT, UNIT))
    if not hole_at(probe, 0, 4 * UNIT):
        pytest.skip("this file system has no holes")
    yield make_file
    for file in made:
        os.close(file)


def test_a_hole_ends_with_data_or_with_the_file(make: Make) -> None:
    file = make(8 * UNIT, (2 * UNIT, UNIT))
    assert hole_at(file, 0, 8 * UNIT) == 2 * UNIT
    assert hole_at(file, UNIT, 8 * UNIT) == UNIT
    assert hole_at(file, 2 * UNIT, 8 * UNIT) == 0
    assert data_at(file, 2 * UNIT, 8 * UNIT) == UNIT
    assert hole_at(file, 3 * UNIT, 8 * UNIT) == 5 * UNIT
    assert hole_at(file, 3 * UNIT, 5 * UNIT) == 2 * UNIT
    assert hole_at(file, 8 * UNIT, 9 * UNIT) == UNIT  # the file may have become shorter


def test_a_short_hole_is_data_unless_the_range_ends_with_it(make: Make) -> None:
    page = UNIT // 4
    file = make(4 * UNIT, (0, page), (2 * page, page))
    assert hole_at(file, page, 4 * UNIT) == 0
    assert hole_at(file, page, 2 * page) == page
    assert data_at(file, 0, 4 * UNIT) == 3 * page
    assert extents_of(file, 4 * UNIT) == [(0, 3 * page)]


@pytest.mark.parametrize("size", [0, 1, UNIT, UNIT + 1])
def test_a_file_without_holes(make: Make, size: int) -> None:
    file = make(size, (0, size))
    assert extents_of(file, size) == ([(0, size)] if size else [])
    assert missing(os.fstat(file)) == 0


def test_a_file_that_is_one_hole(make: Make) -> None:
    file = make(1 << 40)
    assert extents_of(file, 1 << 40) == []
    assert missing(os.fstat(file)) == 1 << 40


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.booleans(), max_size=12), st.integers(0, UNIT))
def test_the_extents_are_the_data(make: Make, pattern: list[bool], rest: int) -> None:
    size = len(pattern) * UNIT + rest
    file = make(size, *((number * UNIT, UNIT) for number, full in enumerate(pattern) if full))
    content = os.pread(file, size, 0)
    found = bytearray(size)
    for offset, length in extents_of(file, size):
        assert length > 0
        found[offset : offset + length] = content[offset : offset + length]
    assert found == content
    assert all(offset + length <= size for offset, length in extents_of(file, size))


def test_a_file_with_too_many_extents_ends_with_its_rest(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARCHIVE_EXTENTS", 2)
    file = make(8 * UNIT, (0, UNIT), (2 * UNIT, UNIT), (4 * UNIT, UNIT))
    assert extents_of(file, 8 * UNIT) == [(0, UNIT), (2 * UNIT, 6 * UNIT)]


def test_a_descriptor_without_holes_is_all_data() -> None:
    read, write = os.pipe()
    try:
        assert (hole_at(read, 0, 10), data_at(read, 0, 10)) == (0, 10)
    finally:
        os.close(read)
        os.close(write)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(read)


def test_too_many_zeros_are_refused_with_both_numbers(make: Make) -> None:
    status = os.fstat(make(limits.HOLES_READ_MAX + 4096))
    check_holes(status, limits.HOLES_READ_MAX, "a")
    with pytest.raises(ValueError, match=rf"^'a' has {limits.HOLES_READ_MAX + 4096} bytes of holes, more than the"):
        check_holes(status, 1 << 62, "a")
