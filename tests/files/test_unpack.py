from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pagent import limits
from pagent.files.unpack import Unpacker
from pagent.jobs.sandbox import Sandbox
from tests.files.test_tarstream import RICH, sparse
from tests.kit.tars import archive, info


def unpack(sandbox: Sandbox, data: bytes, step: int = 1 << 18) -> None:
    unpacker = Unpacker(sandbox)
    try:
        for at in range(0, len(data), step):
            unpacker.push(data[at : at + step])
            while unpacker.turn():
                pass
        unpacker.end()
        while unpacker.turn():
            pass
    finally:
        unpacker.close()


def tree(sandbox: Sandbox) -> list[str]:
    return sorted(str(path.relative_to(sandbox.path)) for path in sandbox.path.rglob("*"))


@pytest.fixture(autouse=True)
def _nothing_stays_open(sandbox: Sandbox, descriptors: Callable[[], int]) -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() == before


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("step", [1 << 18, 100])
def test_files_and_folders_with_modes_and_times(sandbox: Sandbox, pack: Callable[[bytes], bytes], step: int) -> None:
    unpack(sandbox, pack(RICH), step)
    root = sandbox.path
    assert tree(sandbox) == sorted(["d", "d/f", "d/" + "long" * 60, "link", "ä€😀", "\udcff\udcfe"])
    assert (root / "d/f").read_bytes() == b"x" * 700
    assert stat.S_IMODE((root / "d/f").stat().st_mode) == 0o755  # the archive has 04755
    assert (root / "d/f").stat().st_mtime == 1234567890.25
    assert (root / "d").stat().st_mtime == 0.0


def test_a_folder_without_permissions_is_filled_before_they_are_removed(sandbox: Sandbox) -> None:
    unpack(
        sandbox,
        archive(
            (info("a", tarfile.DIRTYPE, mode=0o500, mtime=1000), b""),
            (info("a/b", tarfile.DIRTYPE, mode=0o2555, mtime=2000), b""),
            (info("a/b/f", mode=0o400), b"x"),
        ),
    )
    status = (sandbox.path / "a").stat(), (sandbox.path / "a/b").stat()
    assert [(stat.S_IMODE(s.st_mode), s.st_mtime) for s in status] == [(0o500, 1000.0), (0o555, 2000.0)]


def test_the_sandbox_itself_keeps_its_mode(sandbox: Sandbox) -> None:
    unpack(sandbox, archive((info(".", tarfile.DIRTYPE, mode=0o777), b""), (info("./f"), b"")))
    assert stat.S_IMODE(sandbox.path.stat().st_mode) == 0o700
    assert tree(sandbox) == ["f"]


@pytest.mark.parametrize("name", ["/etc/absolute", "//x"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_absolute_names_are_refused(sandbox: Sandbox, name: str, kind: bytes) -> None:
    with pytest.raises(ValueError, match="file path must be relative"):
        unpack(sandbox, archive((info("first"), b"1"), (info(name, kind), b"")))
    assert tree(sandbox) == ["first"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a/..", "..", "a/../b"])
def test_names_with_dots_are_refused(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="path leaves the sandbox: archive entry"):
        unpack(sandbox, archive((info(name), b"x")))
    assert tree(sandbox) == []
    assert os.listdir(tmp_path) == ["job"]


def test_links_in_the_archive_are_skipped_and_cannot_be_written_through(sandbox: Sandbox, tmp_path: Path) -> None:
    unpack(sandbox, archive((info("d", tarfile.SYMTYPE, linkname=str(tmp_path)), b""), (info("d/f"), b"x")))
    assert tree(sandbox) == ["d", "d/f"]
    assert os.listdir(tmp_path) == ["job"]


def test_links_of_the_job_are_not_followed_outside(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (sandbox.path / "d").symlink_to(tmp_path)
    (sandbox.path / "f").symlink_to(tmp_path / "secret")
    unpack(sandbox, archive((info("f"), b"x")))
    assert (tmp_path / "secret").read_text() == "secret"
    assert (sandbox.path / "f").read_bytes() == b"x"
    for kind in (tarfile.REGTYPE, tarfile.DIRTYPE):
        with pytest.raises(ValueError, match="path leaves the sandbox"):
            unpack(sandbox, archive((info("d/new", kind), b"")))
    assert sorted(os.listdir(tmp_path)) == ["job", "secret"]


def test_a_folder_flipped_with_a_link_while_unpacking(sandbox: Sandbox, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (sandbox.path / "d").mkdir()
    (sandbox.path / "link").symlink_to(outside)
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            (sandbox.path / "d").rename(sandbox.path / "away")
            os.symlink(outside, sandbox.path / "d")
            (sandbox.path / "d").unlink()
            (sandbox.path / "away").rename(sandbox.path / "d")

    data = archive(*[(info(f"d/{number}"), b"x") for number in range(20)])
    flipper = threading.Thread(target=flip)
    flipper.start()
    try:
        # A folder that the unpacker makes while the link is not there would end the flipping, so all folders exist
        # already.
        for _ in range(60):
            try:
                unpack(_NoCreation(sandbox), data)  # type: ignore[arg-type]
            except (ValueError, OSError):
                continue
    finally:
        stop.set()
        flipper.join()
    assert os.listdir(outside) == []


class _NoCreation:
    """A sandbox in which missing folders are not made."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.open_dir = sandbox.open_dir
        self.make_dir = sandbox.make_dir
        self.hand_over = sandbox.hand_over
        self.is_reserved = sandbox.is_reserved
        self.check_target = sandbox.check_target
        self.is_direct = sandbox.is_direct
        self.replacing = sandbox.replacing
        self._sandbox = sandbox

    def open_parent(self, path: str, *, create: bool) -> tuple[int, str]:
        return self._sandbox.open_parent(path, create=False)


def test_an_entry_of_another_kind_is_not_removed(sandbox: Sandbox) -> None:
    (sandbox.path / "d").mkdir()
    (sandbox.path / "f").write_text("old")
    with pytest.raises(IsADirectoryError, match=r"'d'$"):
        unpack(sandbox, archive((info("d"), b"x")))
    with pytest.raises(NotADirectoryError, match=r"'f'$"):
        unpack(sandbox, archive((info("f", tarfile.DIRTYPE), b"")))
    with pytest.raises(NotADirectoryError, match=r"'f/g'$"):
        unpack(sandbox, archive((info("f/g"), b"x")))
    assert tree(sandbox) == ["d", "f"]


def test_files_appear_whole_and_a_truncated_archive_leaves_no_part(sandbox: Sandbox) -> None:
    data = archive((info("a"), b"first"), (info("b"), b"x" * 2000))
    with pytest.raises(ValueError, match="the archive is truncated"):
        unpack(sandbox, data[:2500])
    assert tree(sandbox) == ["a"]
    with pytest.raises(ValueError, match="truncated"):
        unpack(sandbox, gzip.compress(data)[:-4])


def test_the_last_of_two_entries_of_one_name_wins(sandbox: Sandbox) -> None:
    unpack(sandbox, archive((info("f"), b"one"), (info("f"), b"two")))
    assert (sandbox.path / "f").read_bytes() == b"two"


def test_sparse_files_stay_sparse(sandbox: Sandbox) -> None:
    size = 9 << 30
    content = f"2\n5\n5\n{size - 2}\n1\n".encode().ljust(512, b"\0") + b"helloX"
    unpack(sandbox, sparse(content, major="1", minor="0", realsize=str(size)))
    status = (sandbox.path / "s").stat()
    assert status.st_size == size
    assert status.st_blocks < 1000
    with (sandbox.path / "s").open("rb") as file:
        assert file.read(10) == bytes(5) + b"hello"
        file.seek(size - 3)
        assert file.read() == b"\0X\0"


def test_a_full_disk_leaves_the_complete_files_only(full_disk: Sandbox) -> None:
    with pytest.raises(OSError, match=r"No space left on device: 'big'$"):
        unpack(full_disk, archive((info("small"), b"x"), (info("big"), os.urandom(2_000_000))))
    assert os.listdir(full_disk.path) == ["small"]


# --- limits ---------------------------------------------------------------------------------------


def test_limits_of_entries_bytes_and_depth(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    data = archive(*[(info(f"f{number}"), b"xx") for number in range(4)])
    monkeypatch.setattr(limits, "ARCHIVE_ENTRIES", 4)
    monkeypatch.setattr(limits, "ARCHIVE_BYTES", 8)
    unpack(sandbox, data)
    monkeypatch.setattr(limits, "ARCHIVE_ENTRIES", 3)
    with pytest.raises(ValueError, match="more than 3 entries"):
        unpack(sandbox, data)
    monkeypatch.setattr(limits, "ARCHIVE_ENTRIES", 4)
    monkeypatch.setattr(limits, "ARCHIVE_BYTES", 7)
    with pytest.raises(ValueError, match="more than 7 bytes"):
        unpack(sandbox, data)
    with pytest.raises(ValueError, match="folders more than 256 deep"):
        unpack(sandbox, archive((info("a/" * 256 + "f"), b"")))
    unpack(sandbox, archive((info("a/" * 255 + "f"), b"")))


def test_a_sparse_file_counts_with_its_holes(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="unpacks to more than"):
        unpack(sandbox, sparse(b"0\n".ljust(512, b"\0"), major="1", minor="0", realsize=str(1 << 50)))
    assert tree(sandbox) == []


def test_the_memory_of_folders_is_bounded(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARCHIVE_MEMORY", 500)
    with pytest.raises(ValueError, match="too many folders"):
        unpack(sandbox, archive(*[(info(name, tarfile.DIRTYPE), b"") for name in "abc"]))


def test_a_bomb_is_stopped(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = bz2.compress(archive((info("f"), bytes(8 << 20))))
    assert len(bomb) * limits.ARCHIVE_RATIO < 8 << 20
    unpack(sandbox, bomb)
    monkeypatch.setattr(limits, "ARCHIVE_RATIO_FROM", 4 << 20)
    with pytest.raises(ValueError, match="more than 1000 times its size"):
        unpack(sandbox, bomb)
    assert tree(sandbox) == ["f"]
    # After the end of the archive as well.
    with pytest.raises(ValueError, match="more than 1000 times its size"):
        unpack(sandbox, bz2.compress(bytes(8 << 20)))


def test_a_turn_is_bounded(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.files.unpack.DISK_TURN_ENTRIES", 10)
    unpacker = Unpacker(sandbox)
    unpacker.push(archive(*[(info(f"d{number}", tarfile.DIRTYPE), b"") for number in range(25)]))
    counts = []
    while unpacker.turn():
        counts.append(len(os.listdir(sandbox.path)))
    assert counts == [10, 20]
    assert len(os.listdir(sandbox.path)) == 25
    unpacker.end()
    assert [unpacker.turn() for _ in range(3)] == [True, True, False]

    unpacker = Unpacker(sandbox)
    file = io.BytesIO()
    with gzip.open(file, "wb", 1) as writer:
        writer.write(archive((info("f"), bytes(10 << 20))))
    unpacker.push(file.getvalue())
    turns = 1
    while unpacker.turn():
        turns += 1
    assert turns == 3
    unpacker.close()
