"""The blocks that a growing file reserves and releases. test_upload and test_unpack test how it appears."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pagent import unix
from pagent.files import newfile
from pagent.files.newfile import DISK_RESERVE, DISK_RESERVE_FROM, NewFile
from pagent.jobs.sandbox import Sandbox
from pagent.limits import MIB
from pagent.names import PARTIAL_SUFFIX
from pagent.unix import FALLOC_KEEP_SIZE, fallocate

PIECE = os.urandom(MIB)


def blocks(file: int) -> int:
    """Return the bytes that the file has on the disk."""
    return os.fstat(file).st_blocks * 512


@pytest.fixture
def new(sandbox: Sandbox) -> NewFile:
    return NewFile(sandbox, "f", 0o644)


@pytest.fixture
def reserves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Record the ranges that are reserved, and reserve them."""
    if sys.platform != "linux":
        pytest.skip("fallocate is Linux's")
    asked: list[tuple[int, int]] = []

    def reserve(file: int, mode: int, offset: int, length: int) -> int:
        asked.append((offset, length))
        return fallocate(file, mode, offset, length)

    monkeypatch.setattr(newfile, "fallocate", reserve)
    return asked


def test_a_small_file_reserves_nothing(new: NewFile, reserves: list[tuple[int, int]]) -> None:
    new.write(PIECE[:-1])
    new.write(b"x")
    assert reserves == []
    new.discard()


def test_a_large_file_reserves_ahead_and_keeps_what_it_has_filled(
    new: NewFile, reserves: list[tuple[int, int]], sandbox: Sandbox
) -> None:
    for _ in range(7):
        new.write(PIECE)
    assert reserves == [
        (0, DISK_RESERVE_FROM + MIB + DISK_RESERVE),  # with the bytes that have no blocks yet
        (DISK_RESERVE_FROM + MIB + DISK_RESERVE, MIB + DISK_RESERVE),
    ]
    assert os.fstat(new.file).st_size == 7 * MIB  # a reader of the unfinished file sees no zeros after its end
    new.commit()
    found = (sandbox.path / "f").stat()
    assert found.st_size == 7 * MIB
    assert (sandbox.path / "f").read_bytes() == 7 * PIECE
    assert found.st_blocks * 512 < 7 * MIB + MIB // 4


def test_the_reserved_blocks_are_allocated_before_the_write(new: NewFile) -> None:
    new.write(PIECE)
    new.write(b"x")
    if fallocate(new.file, FALLOC_KEEP_SIZE, 0, 1) != 0:
        pytest.skip("this file system cannot reserve blocks")
    assert blocks(new.file) >= DISK_RESERVE
    new.discard()


def test_a_kept_part_has_only_what_was_written_and_is_continued(
    new: NewFile, reserves: list[tuple[int, int]], sandbox: Sandbox
) -> None:
    new.write(PIECE)
    new.write(PIECE)
    new.keep(b"tail")
    part = (sandbox.path / ("f" + PARTIAL_SUFFIX)).stat()
    assert part.st_size == 2 * MIB + 4
    assert part.st_blocks * 512 < 2 * MIB + MIB // 4

    again = NewFile(sandbox, "f", 0o644)
    again.continue_from(2 * MIB, 0o644)
    again.write(PIECE)
    assert reserves[-1] == (2 * MIB, MIB + DISK_RESERVE)
    again.commit()
    assert (sandbox.path / "f").read_bytes() == 3 * PIECE


def test_a_file_with_holes_keeps_them(new: NewFile, reserves: list[tuple[int, int]], sandbox: Sandbox) -> None:
    new.seek(16 * MIB)
    new.write(PIECE)
    new.write(PIECE)
    new.seek(32 * MIB)
    new.commit()
    assert reserves == []
    found = (sandbox.path / "f").stat()
    assert (found.st_size, found.st_blocks * 512 < 3 * MIB) == (32 * MIB, True)


@pytest.mark.parametrize("rest", [b"", PIECE])
def test_nothing_is_left_reserved_in_a_hole(new: NewFile, sandbox: Sandbox, rest: bytes) -> None:
    for _ in range(3):
        new.write(PIECE)
    new.seek(64 * MIB)
    new.write(rest)
    new.seek(100 * MIB)
    new.commit()
    found = (sandbox.path / "f").stat()
    assert found.st_size == 100 * MIB
    assert found.st_blocks * 512 <= 3 * MIB + len(rest) + MIB // 4


def test_nothing_is_left_reserved_after_an_enlarged_file(new: NewFile, sandbox: Sandbox) -> None:
    for _ in range(3):
        new.write(PIECE)
    new.seek(100 * MIB)
    new.commit()
    assert (sandbox.path / "f").stat().st_blocks * 512 <= 3 * MIB + MIB // 4


def test_one_large_write_has_its_blocks_beforehand(new: NewFile, reserves: list[tuple[int, int]]) -> None:
    new.write(PIECE, PIECE)
    new.write(*[PIECE] * 16)
    assert reserves == [(0, 2 * MIB + DISK_RESERVE), (2 * MIB + DISK_RESERVE, 16 * MIB)]
    new.discard()


def test_writes_succeed_where_nothing_can_be_reserved(
    new: NewFile, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    asked = []

    def refuse(*args: int) -> int:
        asked.append(args)
        return errno.EOPNOTSUPP

    monkeypatch.setattr(newfile, "fallocate", refuse)
    for _ in range(6):
        new.write(PIECE)
    new.commit()
    assert len(asked) == 1  # one failure is enough: it does not try again
    assert (sandbox.path / "f").read_bytes() == 6 * PIECE


def test_writes_succeed_without_fallocate(new: NewFile, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.setattr(unix, "system_fallocate", lambda: None)
    assert fallocate(new.file, FALLOC_KEEP_SIZE, 0, 1) == errno.ENOSYS
    new.write(PIECE)
    new.write(PIECE)
    new.commit()
    assert (sandbox.path / "f").read_bytes() == 2 * PIECE


#: Writes "new" over a file that is mounted.
MOUNTED = """
import os, subprocess, sys
from pathlib import Path
from pagent.files.newfile import NewFile
from pagent.jobs.openat_beneath import FOLDER
from pagent.jobs.sandbox import Sandbox
folder = Path(sys.argv[1])
subprocess.run(["mount", "--bind", folder / "source", folder / "box/mounted"], check=True)
new = NewFile(Sandbox(folder / "box", os.open(folder / "box", FOLDER)), "mounted", 0o644)
new.check_target()
new.write(b"new")
new.skip(3)
new.commit()
"""


def has_mount_namespaces() -> bool:
    command = ["unshare", "--mount", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_mount_namespaces(), reason="needs to mount a file in a namespace of its own")
def test_a_mounted_file_is_written_in_place(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "box/mounted").touch()
    (tmp_path / "source").write_text("much longer than the new content")
    subprocess.run(["unshare", "--mount", sys.executable, "-c", MOUNTED, tmp_path], check=True, timeout=60)
    assert (tmp_path / "source").read_bytes() == b"new" + bytes(3)
    assert os.listdir(tmp_path / "box") == ["mounted"]


def test_a_target_that_can_be_neither_replaced_nor_written(
    new: NewFile, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    (sandbox.path / "f").mkdir()
    new.write(b"new")
    monkeypatch.setattr(os, "rename", busy)
    with pytest.raises(OSError, match="'f'"):
        new.commit()
    assert os.listdir(sandbox.path) == ["f"]
