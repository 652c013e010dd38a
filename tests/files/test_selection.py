"""Archives of a folder of a sandbox, and of entries that the caller names."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from pagent.files.arguments import checked_folder, checked_mode, checked_mtime, checked_names, checked_path
from pagent.files.pack import Packer
from pagent.files.selection import ArchiveSelection
from pagent.jobs.sandbox import Sandbox


@pytest.fixture
def filled(sandbox: Sandbox) -> Sandbox:
    path = sandbox.path
    (path / "d/e").mkdir(parents=True)
    for name in ("a", "d/b", "d/e/c"):
        (path / name).write_text(name)
    (path / "d/link").symlink_to("b")
    (path / "d/out").symlink_to("/etc")
    os.mkfifo(path / "d/fifo")
    return sandbox


def packed(sandbox: Sandbox, selection: ArchiveSelection, *masks: str) -> tuple[list[str], list[str]]:
    """Return the names in an archive, and the entries that it lacks."""
    packer = Packer(sandbox, *(*masks, None, None)[:2], selection=selection)
    while packer.note():
        pass
    data = b"".join(iter(lambda: packer.read(1000), b""))
    assert len(data) == packer.size
    with tarfile.open(fileobj=io.BytesIO(data)) as reader:
        return reader.getnames(), packer.skipped.names


def test_a_folder(filled: Sandbox) -> None:
    found, skipped = packed(filled, ArchiveSelection("d"))
    assert found == ["b", "e", "e/c", "link", "out"]
    assert skipped == ["d/fifo: neither a file nor a folder nor a link"]
    assert packed(filled, ArchiveSelection("./d/"), "e*")[0] == ["e", "e/c"]
    assert packed(filled, ArchiveSelection("d", within="x/y"), "e*")[0] == ["x/y/e", "x/y/e/c"]


def test_names(filled: Sandbox) -> None:
    found, skipped = packed(filled, ArchiveSelection("d", ["e/c", "e", "none", "b/c", "link", "fifo", "out/passwd"]))
    assert found == ["e/c", "e", "link"]
    assert skipped == [
        "d/none: it does not exist any more",
        "d/b/c: it does not exist any more",
        "d/fifo: neither a file nor a folder nor a link",
        "d/out/passwd: path leaves the sandbox: 'd/out/passwd'",
    ]
    assert packed(filled, ArchiveSelection(names=[])) == ([], [])


@pytest.mark.parametrize("names", [None, ["x"]])
def test_a_folder_that_cannot_be_packed(filled: Sandbox, names: list[str] | None) -> None:
    for path, kind in (
        ("none", FileNotFoundError), ("a", NotADirectoryError), ("../x", ValueError), ("/d", ValueError),
        ("d/out", ValueError),
    ):  # fmt: skip
        with pytest.raises(kind):
            packed(filled, ArchiveSelection(path, names))


@pytest.mark.parametrize("name", ["", ".", "..", "/a", "a/", "a//b", "a/../b", "./a", "a\0"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of an entry"):
        checked_names(["fine", name])


def test_arguments() -> None:
    assert checked_names(None) is None
    assert checked_names(("a", "b/c")) == ["a", "b/c"]
    assert (checked_folder(""), checked_folder("a/b")) == ("", "a/b")
    assert (checked_mode(None), checked_mode(0o4755)) == (None, 0o755)
    assert (checked_mtime(None), checked_mtime(1.5), checked_mtime(1e30)) == (None, 1_500_000_000, 2**34 * 10**9)
    for check, value in (
        (checked_names, "ab"), (checked_names, [1]), (checked_path, None), (checked_folder, 5), (checked_mode, "7"),
        (checked_mode, True), (checked_mtime, "1"), (checked_mtime, True),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            check(value)
    for check, value in (
        (checked_names, ["a"] * 10_001), (checked_folder, "../a"), (checked_folder, "/a"), (checked_mode, -1),
        (checked_mtime, float("nan")), (checked_mtime, float("inf")),
    ):  # fmt: skip
        with pytest.raises(ValueError):  # noqa: PT011
            check(value)
