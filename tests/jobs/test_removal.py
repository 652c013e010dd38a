"""Emptying a folder that hostile programs have filled, by way of the sandbox that does it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pagent.jobs.removal import remove_folder
from pagent.jobs.sandbox import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    made = Sandbox.create(tmp_path, "job")
    yield made
    made.remove()


def test_remove_deletes_everything_and_follows_nothing(
    sandbox: Sandbox, tmp_path: Path, descriptors: Callable[[], int]
) -> None:
    outside = tmp_path / "folder"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (sandbox.path / "a" / "b").mkdir(parents=True)
    (sandbox.path / "a" / "b" / "f").write_text("x")
    (sandbox.path / "a" / "link").symlink_to(outside)
    (sandbox.path / "top").symlink_to(outside)
    os.mkfifo(sandbox.path / "a" / "fifo")
    before = descriptors()
    sandbox.remove()
    assert not sandbox.path.exists()
    assert (outside / "kept").read_text() == "kept"
    assert descriptors() == before - 1
    sandbox.remove()
    assert descriptors() == before - 1


def test_remove_of_unreadable_folders(tmp_path: Path) -> None:
    """As a user that no right is given for free: root sees no difference, so it lays its rights down."""
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o777)
    script = """
import os, sys
from pathlib import Path
from pagent.jobs.sandbox import Sandbox
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sandbox = Sandbox.create(Path(), "job")
deep = sandbox.path / "a" / "b" / "c"
deep.mkdir(parents=True)
(deep / "f").write_text("x")
for folder in (deep, deep.parent, deep.parent.parent, sandbox.path):
    folder.chmod(0)
sandbox.remove()
print(sandbox.path.exists())
"""
    done = subprocess.run([sys.executable, "-c", script, str(root)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.slow
def test_remove_of_a_tree_deeper_than_any_path(sandbox: Sandbox, descriptors: Callable[[], int]) -> None:
    place = os.open(sandbox.path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deeper", dir_fd=place)
        below = os.open("deeper", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=place))
    os.close(place)
    before = descriptors()
    sandbox.remove()
    assert not sandbox.path.exists()
    assert descriptors() == before - 1


def test_remove_with_more_entries_than_one_batch(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.jobs.removal._BATCH", 3)
    for folder in ("a", "b", "a/c", "."):
        (sandbox.path / folder).mkdir(exist_ok=True)
        for number in range(10):
            (sandbox.path / folder / f"f{number}").touch()
    sandbox.remove()
    assert not sandbox.path.exists()


def test_remove_goes_on_past_what_it_cannot_delete(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    (sandbox.path / "a").mkdir()
    for name in ("a/stuck", "a/f", "g"):
        (sandbox.path / name).touch()
    unlink = os.unlink

    def refuse(name: str, *, dir_fd: int | None = None) -> None:
        if name == "stuck":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), name)
        unlink(name, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr("pagent.jobs.removal.os.unlink", refuse)
        with pytest.raises(OSError, match="busy: 'stuck'"):
            sandbox.remove()
    assert [str(path.relative_to(sandbox.path)) for path in sandbox.path.rglob("*")] == ["a", "a/stuck"]
    sandbox.remove()
    assert not sandbox.path.exists()


def test_remove_folder_of_nothing_and_of_a_link(tmp_path: Path) -> None:
    remove_folder(tmp_path / "none")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "f").touch()
    (tmp_path / "link").symlink_to("kept")
    with pytest.raises(NotADirectoryError):
        remove_folder(tmp_path / "link")
    assert (tmp_path / "kept" / "f").exists()
