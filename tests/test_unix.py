from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from pagent.unix import (
    FALLOC_COLLAPSE_RANGE,
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_PATH,
    fallocate,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


def test_every_flag_is_there_on_linux() -> None:
    assert all((O_PATH, O_DIRECTORY, O_NOFOLLOW, O_CLOEXEC))


def test_a_hole_is_punched_beyond_four_gibibytes(tmp_path: Path) -> None:
    """The offset is a number of 64 bits also where the C library's default is one of 32."""
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(file, b"x" * 8192, 5 << 30)
        found = fallocate(file, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 5 << 30, 4096)
        if found == errno.EOPNOTSUPP:
            pytest.skip("this file system has no holes")
        assert found == 0
        assert os.pread(file, 8192, 5 << 30) == bytes(4096) + b"x" * 4096
    finally:
        os.close(file)


def test_an_error_is_returned_as_its_number(tmp_path: Path) -> None:
    read, write = os.pipe()
    try:
        assert fallocate(read, 0, 0, 1) in (errno.EBADF, errno.ESPIPE)
    finally:
        os.close(read)
        os.close(write)
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        assert fallocate(file, FALLOC_COLLAPSE_RANGE, 0, 1) in (errno.EINVAL, errno.EOPNOTSUPP)
        assert fallocate(file, 0, -1, 1) == errno.EINVAL
    finally:
        os.close(file)
