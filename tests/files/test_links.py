"""Links of archives: how hard and symbolic links are unpacked, and that none leads outside."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagent import limits
from pagent.files.links import stays_below
from pagent.files.pack import Packer
from pagent.files.unpack import Unpacker
from pagent.jobs.sandbox import Sandbox
from tests.kit.tars import archive, info


def unpack(sandbox: Sandbox, data: bytes) -> Unpacker:
    unpacker = Unpacker(sandbox)
    try:
        unpacker.push(data)
        while unpacker.turn():
            pass
        unpacker.end()
        while unpacker.turn():
            pass
    finally:
        unpacker.close()
    return unpacker


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return info(name, tarfile.SYMTYPE, linkname=target), b""


def hardlink(name: str, target: str, **values: object) -> tuple[tarfile.TarInfo, bytes]:
    return info(name, tarfile.LNKTYPE, linkname=target, **values), b""


@pytest.mark.parametrize(
    ("path", "target", "stays"),
    [
        ("l", "f", True), ("l", "d/f", True), ("l", "./d//f", True), ("l", ".", True), ("d/l", "..", True),
        ("d/e/l", "../../f", True), ("l", "..", False), ("d/l", "../..", False), ("l", "/etc", False), ("l", "", False),
        ("l", "d/../f", False), ("d/l", "../d/../..", False), ("l", "a\0b", False), ("l", "...", True),
        ("l", "x" * 5000, False),
    ],
)  # fmt: skip
def test_targets_of_links_that_stay_below(path: str, target: str, stays: bool) -> None:
    assert stays_below(path, target) is stays


def test_symbolic_links_survive_a_round_trip(sandbox: Sandbox, tmp_path: Path) -> None:
    (sandbox.path / "d").mkdir()
    (sandbox.path / "d/f").write_text("content")
    for path, target in [("a", "d/f"), ("d/up", "../d/f"), ("dangling", "gone"), ("folder", "d"), ("\udcff", "\udcfe")]:
        (sandbox.path / path).symlink_to(target)
    (sandbox.path / "outside").symlink_to("/etc/passwd")
    packer = Packer(sandbox, None, None)
    while packer.note():
        pass
    data = b""
    while part := packer.read(1 << 16):
        data += part
    packer.close()
    assert packer.skipped.count == 0
    other = Sandbox.create(tmp_path, "other")
    unpacker = unpack(other, data)
    assert {path: os.readlink(other.path / path) for path in ("a", "d/up", "dangling", "folder", "\udcff")} == {
        "a": "d/f", "d/up": "../d/f", "dangling": "gone", "folder": "d", "\udcff": "\udcfe",
    }  # fmt: skip
    assert not os.path.lexists(other.path / "outside")
    assert unpacker.skipped.as_dict() == {
        "skipped": 1,
        "names": ["outside: a symbolic link that may lead outside: /etc/passwd"],
    }
    other.remove()


def test_a_link_replaces_a_file_or_a_link_but_not_a_folder(sandbox: Sandbox) -> None:
    unpack(sandbox, archive((info("l"), b"x"), symlink("l", "a"), symlink("l", "b")))
    assert os.readlink(sandbox.path / "l") == "b"
    assert os.listdir(sandbox.path) == ["l"]
    (sandbox.path / "d").mkdir()
    with pytest.raises(OSError, match="'d'"):
        unpack(sandbox, archive(symlink("d", "l")))
    assert sorted(os.listdir(sandbox.path)) == ["d", "l"]


def test_a_chain_of_links_does_not_lead_outside(sandbox: Sandbox) -> None:
    """Each target stays below by its text; the last one passes through the first link."""
    (sandbox.path.parent / "secret").write_text("secret")
    unpacker = unpack(
        sandbox,
        archive(
            (info("s", tarfile.DIRTYPE, mode=0o755), b""),
            symlink("s/up", ".."),
            symlink("here", "."),
            symlink("here/out", ".."),  # by its path inside one folder, in fact in none
            symlink("s/up/out", "../.."),
            symlink("out", "s/up/../secret"),
        ),
    )
    assert unpacker.skipped.count == 3
    for link in ("s/up", "here"):
        assert os.path.realpath(sandbox.path / link) == os.path.realpath(sandbox.path)
    assert sorted(os.listdir(sandbox.path)) == ["here", "s"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "a/a", "a/b", "b/a", "a/a/a", "a/b/a"]),
            st.lists(st.sampled_from(["..", "a", "b", "."]), min_size=1, max_size=4).map("/".join),
            st.booleans(),
        ),
        max_size=8,
    )
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_archive_makes_a_link_that_leads_outside(tmp_path: Path, entries: list[tuple[str, str, bool]]) -> None:
    root = tmp_path / "x" / "y"
    root.mkdir(parents=True, exist_ok=True)
    made = Sandbox.create(root, "job")
    try:
        for path, target, is_link in entries:
            entry = symlink(path, target) if is_link else (info(path, tarfile.DIRTYPE, mode=0o755), b"")
            try:
                unpack(made, archive(entry))
            except (OSError, ValueError):
                continue
        for folder, folders, files in os.walk(made.path):
            for name in folders + files:
                place = os.path.join(folder, name)
                if os.path.islink(place):
                    real = os.path.realpath(place)
                    assert (real + "/").startswith(os.path.realpath(made.path) + "/"), (entries, place, real)
    finally:
        made.remove()


# --- hard links -----------------------------------------------------------------------------------


def test_a_hard_link_becomes_a_copy_of_the_file(sandbox: Sandbox) -> None:
    content = os.urandom(700_000)
    unpacker = unpack(
        sandbox,
        archive(
            (info("d/f", mode=0o751, mtime=5), content),
            hardlink("g", "d/f", mode=0o751, mtime=5),
            hardlink("d/h", "./g", mode=0o640),
            (info("empty"), b""),
            hardlink("e", "empty"),
        ),
    )
    assert unpacker.skipped.count == 0
    for path in ("d/f", "g", "d/h"):
        assert (sandbox.path / path).read_bytes() == content
    assert (sandbox.path / "e").read_bytes() == b""
    assert [(sandbox.path / "g").stat().st_mode & 0o777, (sandbox.path / "g").stat().st_mtime] == [0o751, 5]
    (sandbox.path / "g").write_text("changed")
    assert (sandbox.path / "d/f").read_bytes() == content


def test_hard_links_to_other_entries_than_files_are_skipped(sandbox: Sandbox) -> None:
    (sandbox.path.parent / "secret").write_text("secret")
    (sandbox.path / "out").symlink_to("../secret")
    os.mkfifo(sandbox.path / "fifo")
    targets = ["missing", "../secret", "/etc/passwd", "d", "fifo", "out", "d/x"]
    unpacker = unpack(
        sandbox,
        archive((info("d", tarfile.DIRTYPE), b""), *(hardlink(f"l{n}", target) for n, target in enumerate(targets))),
    )
    assert unpacker.skipped.count == len(targets)
    assert sorted(os.listdir(sandbox.path)) == ["d", "fifo", "out"]


def test_copies_count_against_the_limits_of_an_archive(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    data = archive((info("f"), bytes(100_000)), *(hardlink(f"l{number}", "f") for number in range(50)))
    monkeypatch.setattr(limits, "ARCHIVE_BYTES", 3_000_000)
    with pytest.raises(ValueError, match="unpacks to more than"):
        unpack(sandbox, data)
    monkeypatch.setattr(limits, "ARCHIVE_BYTES", 1 << 40)
    monkeypatch.setattr(limits, "ARCHIVE_RATIO", 10)
    monkeypatch.setattr(limits, "ARCHIVE_RATIO_FROM", 1_000_000)
    with pytest.raises(ValueError, match="copies"):
        unpack(sandbox, data)
    with (sandbox.path / "sparse").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(ValueError, match="unpacks to more than"):
        unpack(sandbox, archive(hardlink("copy", "sparse")))
    assert not list(sandbox.path.glob(".pagent-*"))


def test_a_copy_of_a_sparse_file_is_sparse(sandbox: Sandbox) -> None:
    with (sandbox.path / "sparse").open("wb") as file:
        file.seek(64 << 20)
        file.write(b"data")
        file.truncate(128 << 20)
    unpack(sandbox, archive(hardlink("copy", "sparse")))
    status = (sandbox.path / "copy").stat()
    assert (status.st_size, status.st_blocks * 512 < 1 << 20) == (128 << 20, True)


# --- the agent's own files ------------------------------------------------------------------------


def test_the_agents_own_files_are_skipped(sandbox: Sandbox) -> None:
    (sandbox.path / ".pagent.stdout").write_text("log")
    (sandbox.path / "d").symlink_to(".")
    unpacker = unpack(
        sandbox,
        archive(
            (info(".pagent.stdout", mode=0o777), b"replaced" * 200),
            (info("d/.pagent.stdout"), b"replaced"),
            (info(".pagent.stderr", tarfile.DIRTYPE), b""),
            symlink(".pagent.x", "f"),
            (info("f"), b"content"),
            hardlink(".pagent.y", "f"),
            hardlink("copy", ".pagent.stdout"),
        ),
    )
    assert unpacker.skipped.count == 5
    assert sorted(os.listdir(sandbox.path)) == [".pagent.stdout", "copy", "d", "f"]
    assert (sandbox.path / ".pagent.stdout").read_text() == (sandbox.path / "copy").read_text() == "log"
    assert (sandbox.path / "f").read_text() == "content"
