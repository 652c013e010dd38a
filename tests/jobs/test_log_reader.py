"""Reading a log that grows, is capped, or is cut short."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.jobs.capped import CappedOutput
from pagent.jobs.log_reader import LogReader


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


def all_of(reader: LogReader) -> bytes:
    data = b""
    while piece := reader.read():
        data += piece
    return data


@pytest.mark.parametrize("follow", [False, True])
def test_from_an_offset_on_while_it_grows(file: int, follow: bool) -> None:
    os.write(file, b"one\ntwo\n")
    reader = LogReader(file, None, 4, follow=follow)
    assert all_of(reader) == b"two\n"
    os.write(file, bytes(1_000_000))
    assert all_of(reader) == bytes(1_000_000)
    assert reader.offset == 1_000_008
    assert reader.read() == b""


def test_an_offset_that_the_file_has_not_reached(file: int) -> None:
    reader = LogReader(file, None, 4, follow=True)
    os.write(file, b"on")
    assert reader.read() == b""
    os.write(file, b"e\ntwo\n")
    assert reader.read() == b"two\n"


@pytest.mark.parametrize("after", [b"", b"x", b"two\n", b"longer than before\n", bytes(500_000)])
def test_one_that_was_emptied_is_read_from_its_start(file: int, after: bytes) -> None:
    """Also if it has grown beyond the place of the reader by the next look."""
    reader = LogReader(file, None, 0, follow=True)
    os.write(file, b"one\n" * 3)
    assert all_of(reader) == b"one\n" * 3
    os.ftruncate(file, 0)
    os.write(file, after)
    assert all_of(reader) == after
    assert reader.offset == len(after)
    os.write(file, b"on it goes\n")
    assert all_of(reader) == b"on it goes\n"


def test_one_that_became_shorter(file: int) -> None:
    reader = LogReader(file, None, 0, follow=True)
    os.write(file, b"one\ntwo\n")
    assert all_of(reader) == b"one\ntwo\n"
    os.ftruncate(file, 4)
    assert all_of(reader) == b"one\n"


def test_without_follow_the_end_is_the_end(file: int) -> None:
    reader = LogReader(file, None, 0, follow=False)
    os.write(file, b"one\n")
    assert all_of(reader) == b"one\n"
    os.ftruncate(file, 0)
    assert reader.read() == b""
    assert reader.offset == 4


def test_a_capped_one(file: int) -> None:
    capped = CappedOutput(file, 8192)
    reader = LogReader(file, capped, 0, follow=True)
    os.write(file, b"x" * 100)
    assert all_of(reader) == b"x" * 100
    os.ftruncate(file, 0)
    os.write(file, b"y" * 5)
    assert all_of(reader) == b"y" * 5
    assert reader.offset == 105
    os.write(file, b"z" * 40_000)
    capped.trim()
    assert set(all_of(reader)) == {ord("z")}
    assert reader.offset == 40_105
    capped.close()
    assert reader.read() == b""


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=200))))
def test_nothing_is_lost_where_each_change_is_looked_at(steps: list[tuple[bool, bytes]]) -> None:
    descriptor = os.memfd_create("log")
    reader = LogReader(descriptor, None, 0, follow=True)
    size = 0
    try:
        for emptied, data in steps:
            if emptied:
                os.ftruncate(descriptor, 0)
                size = 0
                assert all_of(reader) == b""
            os.pwrite(descriptor, data, size)
            size += len(data)
            assert all_of(reader) == data
    finally:
        os.close(descriptor)
