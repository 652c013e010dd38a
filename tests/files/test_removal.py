"""Delete entries of a sandbox: a file, a link, an empty folder, and a folder with all its content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pagent.errors import FileChangedError
from pagent.files import removal
from pagent.files.condition import Condition
from pagent.files.disk_work import DISK_TURN_ENTRIES
from pagent.files.removal import file_remove
from pagent.jobs.sandbox import Sandbox
from pagent.runtime.threads import Threads


async def test_remove(threads: Threads, sandbox: Sandbox, filled: Path) -> None:
    assert (await file_remove(threads, sandbox, "a"))["type"] == "link"
    assert (filled / "b.txt").exists()
    assert (await file_remove(threads, sandbox, "b/fifo"))["type"] == "other"
    with pytest.raises(OSError, match=r"not empty: 'b'"):
        await file_remove(threads, sandbox, "b")
    assert (await file_remove(threads, sandbox, "b/c/f"))["size"] == 3
    assert (await file_remove(threads, sandbox, "b/c/"))["type"] == "dir"
    with pytest.raises(FileNotFoundError, match=r"'b/c'"):
        await file_remove(threads, sandbox, "b/c")
    for path in ("", ".", "..", "/x"):
        with pytest.raises(ValueError, match="path"):
            await file_remove(threads, sandbox, path)
    assert sorted(os.listdir(filled)) == ["b", "b.txt"]


@pytest.mark.parametrize("path", [".pagent.stdout", "d/.pagent.stdout"])
async def test_the_agents_own_files_are_not_removed(threads: Threads, sandbox: Sandbox, path: str) -> None:
    (sandbox.path / ".pagent.stdout").touch()
    (sandbox.path / "d").symlink_to(".")
    with pytest.raises(ValueError, match="belongs to the agent"):
        await file_remove(threads, sandbox, path)
    assert (sandbox.path / ".pagent.stdout").exists()


async def test_a_folder_is_removed_with_all_its_content(
    threads: Threads, sandbox: Sandbox, tmp_path: Path, descriptors: Callable[[], int]
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "f").touch()
    top = sandbox.path / "d"
    (top / "x" / "empty").mkdir(parents=True)
    for name in ("a", ".pagent-upload-1", "x/line\nfeed", "x/\udcff"):
        (top / name).touch()
    (top / "x" / "up").symlink_to("..")
    (top / "out").symlink_to(kept)
    os.mkfifo(top / "x" / "fifo")
    (sandbox.path / "other").touch()
    before = descriptors()
    assert (await file_remove(threads, sandbox, "d/", recursive=True))["type"] == "dir"
    assert os.listdir(sandbox.path) == ["other"]
    assert (kept / "f").exists()
    assert descriptors() == before
    with pytest.raises(FileNotFoundError, match="'d'"):
        await file_remove(threads, sandbox, "d", recursive=True)


async def test_a_link_to_a_folder_is_removed_without_the_folder(threads: Threads, sandbox: Sandbox) -> None:
    (sandbox.path / "d").mkdir()
    (sandbox.path / "d" / "f").touch()
    (sandbox.path / "l").symlink_to("d")
    assert (await file_remove(threads, sandbox, "l", recursive=True))["type"] == "link"
    assert (await file_remove(threads, sandbox, "d/f", recursive=True))["type"] == "file"
    assert os.listdir(sandbox.path) == ["d"]


async def test_many_entries_and_many_folders_in_each_other(
    threads: Threads, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_AT_ONCE", DISK_TURN_ENTRIES)
    deep = sandbox.path / "d" / "/".join("abc" * 30)
    deep.mkdir(parents=True)
    for folder in (sandbox.path / "d", deep):
        for number in range(2 * DISK_TURN_ENTRIES):
            (folder / f"{number}").touch()
    await file_remove(threads, sandbox, "d", recursive=True)
    assert os.listdir(sandbox.path) == []


async def test_the_agents_own_files_are_not_removed_with_their_folder(threads: Threads, sandbox: Sandbox) -> None:
    own = sandbox.path / "d" / ".pagent.own"
    own.parent.mkdir()
    own.touch()
    with pytest.raises(ValueError, match="belongs to the agent"):
        await file_remove(threads, sandbox, "d", recursive=True)
    for path in ("", ".", "..", "/x", ".pagent.own"):
        with pytest.raises(ValueError):  # noqa: PT011 - as without recursive
            await file_remove(threads, sandbox, path, recursive=True)
    assert own.exists()


async def test_a_file_that_has_changed_is_not_removed(threads: Threads, sandbox: Sandbox) -> None:
    (sandbox.path / "f").touch()
    with pytest.raises(FileChangedError):
        await file_remove(threads, sandbox, "f", condition=Condition(["other"]), recursive=True)
    assert (sandbox.path / "f").exists()
