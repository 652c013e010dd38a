from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterator

import pytest

from pagent import limits
from pagent.files.pack import Compressor, Packer
from pagent.jobs.sandbox import Sandbox


def noted(sandbox: Sandbox, include: str | None = None, exclude: str | None = None) -> Packer:
    packer = Packer(sandbox, include, exclude)
    while packer.note():
        pass
    return packer


def packed(packer: Packer, size: int = 1 << 18) -> bytes:
    parts = []
    while part := packer.read(size):
        assert len(part) <= size
        parts.append(part)
    packer.close()
    data = b"".join(parts)
    assert len(data) == packer.size
    assert len(data) % 10240 == 0
    return data


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as reader:
        return reader.getnames()


@pytest.fixture(autouse=True)
def _nothing_stays_open(sandbox: Sandbox, descriptors: Callable[[], int]) -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() == before


def fill(sandbox: Sandbox) -> None:
    root = sandbox.path
    for folder in ("src/deep", "empty"):
        (root / folder).mkdir(parents=True)
    for name in ("a.py", "src/b.py", "src/deep/c.py", "src/deep/d.txt"):
        (root / name).write_text(name)
    (root / "link.py").symlink_to("a.py")
    os.mkfifo(root / "fifo.py")
    for name in (".pagent-upload-1", "f.pagent-partial"):
        (root / name).touch()


def test_a_captured_archive_is_packed_again(sandbox: Sandbox) -> None:
    (sandbox.path / "a.py").write_text("print(1)\n")
    packer = noted(sandbox, "*.py")
    assert packer.size == 10240
    data = packed(packer)
    assert b"a.py\0" in data
    assert names(data) == ["a.py"]


EVERYTHING = ["a.py", "empty", "link.py", "src", "src/b.py", "src/deep", "src/deep/c.py", "src/deep/d.txt"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (None, None, EVERYTHING),
        ("", "", EVERYTHING),
        ("*.py", None, ["a.py", "link.py", "src/b.py", "src/deep/c.py"]),
        ("*.PY", None, []),
        ("src*", None, EVERYTHING[3:]),
        ("src/?.py", None, ["src/b.py"]),
        ("[ae]*", "*.py", ["empty"]),
        (None, "src*", ["a.py", "empty", "link.py"]),
        ("*.py", "*/c.py", ["a.py", "link.py", "src/b.py"]),
        (None, "*", []),
    ],
)
def test_masks(sandbox: Sandbox, include: str | None, exclude: str | None, expected: list[str]) -> None:
    fill(sandbox)
    assert names(packed(noted(sandbox, include, exclude))) == expected


@pytest.mark.parametrize("position", [0, 1])
def test_masks_are_text_of_bounded_length(sandbox: Sandbox, position: int) -> None:
    for mask, error in [(b"*", TypeError), (7, TypeError), (["*"], TypeError), ("*" * 1025, ValueError)]:
        masks: list[object] = [None, None]
        masks[position] = mask
        with pytest.raises(error, match=("include_mask", "exclude_mask")[position]):
            Packer(sandbox, *masks)  # type: ignore[arg-type]


def test_modes_times_and_no_owner(sandbox: Sandbox) -> None:
    fill(sandbox)
    (sandbox.path / "a.py").chmod(0o4751)
    os.utime(sandbox.path / "a.py", (0, 1234567890.9))
    os.utime(sandbox.path / "src/b.py", (0, -10.5))
    with tarfile.open(fileobj=io.BytesIO(packed(noted(sandbox)))) as reader:
        entry = reader.getmember("a.py")
        assert (entry.mode, entry.mtime, entry.uid, entry.gid, entry.uname) == (0o751, 1234567890.9, 0, 0, "")
        assert reader.getmember("src/b.py").mtime == -10.5


def test_the_same_content_gives_the_same_bytes(sandbox: Sandbox) -> None:
    fill(sandbox)
    assert packed(noted(sandbox)) == packed(noted(sandbox), 77)


def test_names_of_any_kind(sandbox: Sandbox) -> None:
    wanted = ["n" * 200, "ä€😀", "\udcff\udcfe", "a\nb", "p" * 99, "p" * 100, "p" * 101]
    for name in wanted:
        (sandbox.path / name).write_text("x")
    (sandbox.path / ("d" * 100)).mkdir()
    assert sorted(names(packed(noted(sandbox)))) == sorted([*wanted, "d" * 100])


def test_an_empty_sandbox_is_an_empty_archive(sandbox: Sandbox) -> None:
    assert packed(noted(sandbox)) == bytes(10240)


# --- changes by the job meanwhile -----------------------------------------------------------------


@pytest.mark.parametrize("change", ["grow", "shrink", "vanish", "link", "fifo", "folder"])
def test_entries_that_change_before_their_turn_leave_a_valid_archive(sandbox: Sandbox, change: str) -> None:
    for name in "abc":
        (sandbox.path / name).write_text(name * 5000)
    packer = noted(sandbox)
    path = sandbox.path / "b"
    if change == "grow":
        path.write_text("b" * 90_000)
    elif change == "shrink":
        path.write_text("b" * 10)
    else:
        path.unlink()
        if change == "link":
            path.symlink_to("/etc/passwd")
        elif change == "fifo":
            os.mkfifo(path)
        elif change == "folder":
            path.mkdir()
    with tarfile.open(fileobj=io.BytesIO(packed(packer))) as reader:
        found = {entry.name: entry.size for entry in reader}
    expected = {"a": 5000, "b": {"grow": 5000, "shrink": 10}.get(change), "c": 5000}
    assert found == {name: size for name, size in expected.items() if size is not None}


def test_a_file_that_becomes_shorter_while_it_is_read_is_filled_up(sandbox: Sandbox) -> None:
    for name in "ab":
        (sandbox.path / name).write_bytes(name.encode() * 1_000_000)
    packer = noted(sandbox)
    start = packer.read(512) + packer.read(1 << 18)
    os.truncate(sandbox.path / "a", 10)
    parts = [start]
    while part := packer.read(1 << 18):
        parts.append(part)
    packer.close()
    data = b"".join(parts)
    assert len(data) == packer.size
    assert packer.skipped.names == ["a: it became shorter while it was read; zeros stand for what could not be read"]
    with tarfile.open(fileobj=io.BytesIO(data)) as reader:
        assert reader.getnames() == ["a", "b"]
        member = reader.extractfile("b")
        assert member is not None
        assert member.read() == b"b" * 1_000_000


def test_close_in_the_middle_of_a_file(sandbox: Sandbox, descriptors: Callable[[], int]) -> None:
    (sandbox.path / "a").write_bytes(bytes(1_000_000))
    before = descriptors()
    packer = noted(sandbox)
    assert packer.read(512)[257:262] == b"ustar"
    assert packer.read(1 << 16)
    assert packer.read(1 << 16) == bytes(1 << 16)
    assert descriptors() == before + 1
    packer.close()
    packer.close()
    assert descriptors() == before


def test_a_file_above_8_gib(sandbox: Sandbox) -> None:
    size = (9 << 30) + 5
    with (sandbox.path / "huge").open("wb") as file:
        file.truncate(size)
    packer = noted(sandbox)
    assert packer.size == 10240  # its holes are left out for every reader
    with tarfile.open(fileobj=io.BytesIO(packed(packer))) as reader:
        entry = reader.getmember("huge")
        assert (entry.size, entry.issparse(), entry.sparse) == (size, True, [])


# --- bounds ---------------------------------------------------------------------------------------


def test_too_many_entries(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(sandbox)
    monkeypatch.setattr(limits, "ARCHIVE_ENTRIES", 5)
    with pytest.raises(ValueError, match="more than 5 entries"):
        noted(sandbox)
    monkeypatch.setattr(limits, "ARCHIVE_ENTRIES", 100)
    monkeypatch.setattr(limits, "ARCHIVE_MEMORY", 50)
    with pytest.raises(ValueError, match="too many entries for an archive"):
        noted(sandbox)


def test_compressed_in_turns(sandbox: Sandbox) -> None:
    (sandbox.path / "a").write_bytes(bytes(10 << 20))
    spool = sandbox.open_spool()
    try:
        compressor = Compressor(noted(sandbox), spool)
        turns = 1
        while compressor.turn():
            turns += 1
        assert turns == 3
        data = os.pread(spool, 1 << 20, 0)
        assert compressor.size == len(data)
        assert names(gzip.decompress(data)) == ["a"]
    finally:
        os.close(spool)
