from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pagent import limits
from pagent.files.listing import file_list, file_stat
from pagent.files.removal import file_remove
from pagent.files.walk import walk
from pagent.jobs.sandbox import Sandbox
from pagent.runtime.threads import Threads


def brief(entries: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(entry["path"], entry["type"]) for entry in entries]


@pytest.mark.usefixtures("filled")
async def test_list_a_folder(threads: Threads, sandbox: Sandbox, descriptors: Callable[[], int]) -> None:
    assert brief(await file_list(threads, sandbox)) == [("a", "link"), ("b", "dir"), ("b.txt", "file")]
    before = descriptors()
    everything = [
        ("a", "link"),
        ("b", "dir"),
        ("b/c", "dir"),
        ("b/c/f", "file"),
        ("b/fifo", "other"),
        ("b.txt", "file"),
    ]
    assert brief(await file_list(threads, sandbox, ".", recursive=True)) == everything
    assert brief(await file_list(threads, sandbox, "./b/", recursive=True)) == everything[2:5]
    assert descriptors() == before


@pytest.mark.usefixtures("filled")
async def test_list_of_other_entries_than_folders(threads: Threads, sandbox: Sandbox) -> None:
    for path, error in [("b.txt", NotADirectoryError), ("none", FileNotFoundError), ("..", ValueError)]:
        with pytest.raises(error):
            await file_list(threads, sandbox, path)


async def test_links_are_not_walked_into(threads: Threads, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (sandbox.path / "up").symlink_to("..")
    (sandbox.path / "self").symlink_to(".")
    assert brief(await file_list(threads, sandbox, recursive=True)) == [("self", "link"), ("up", "link")]


async def test_temporary_files_are_hidden_and_kept_parts_are_listed(threads: Threads, sandbox: Sandbox) -> None:
    for name in (".pagent-upload-0123", "f.pagent-partial", ".pagent.stdout"):
        (sandbox.path / name).touch()
    assert brief(await file_list(threads, sandbox)) == [(".pagent.stdout", "file"), ("f.pagent-partial", "file")]


async def test_a_list_too_large_for_a_message_is_refused(
    threads: Threads, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (sandbox.path / f"{number:02}{'x' * 90}").touch()
    monkeypatch.setattr(limits, "LISTING_BYTES", 20 * 172)
    assert len(await file_list(threads, sandbox)) == 20
    monkeypatch.setattr(limits, "LISTING_BYTES", 20 * 172 - 1)
    with pytest.raises(ValueError, match="more entries than one answer"):
        await file_list(threads, sandbox)
    pages = []
    after = None
    while page := await file_list(threads, sandbox, after=after, limit=1000):
        pages.append(len(page))
        after = page[-1]["path"]
    assert pages == [19, 1]


async def test_names_that_are_not_utf8(threads: Threads, sandbox: Sandbox) -> None:
    os.close(os.open(os.fsencode(sandbox.path) + b"/\xff\xc3\xa4", os.O_CREAT))
    assert brief(await file_list(threads, sandbox)) == [("\U0010feff\xe4", "file")]
    assert (await file_stat(threads, sandbox, "\U0010feff\xe4"))["path"] == "\U0010feff\xe4"
    await file_remove(threads, sandbox, "\U0010feff\xe4")
    assert os.listdir(sandbox.path) == []


def test_walk_of_many_entries_in_batches(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.files.walk.DISK_TURN_ENTRIES", 3)
    for folder in ("a", "b"):
        (sandbox.path / folder).mkdir()
        for number in range(10):
            (sandbox.path / folder / str(number)).touch()
    expected = [path for folder in "ab" for path in (folder, *(f"{folder}/{number}" for number in range(10)))]
    assert [found.path for found in walk(sandbox, most=22)] == expected
    with pytest.raises(ValueError, match="more than 21 entries"):
        list(walk(sandbox, most=21))


@pytest.mark.parametrize("become", ["nothing", "a file", "a link"])
def test_a_folder_that_vanishes_while_walked_is_left_out(sandbox: Sandbox, become: str) -> None:
    for folder in ("a", "b"):
        (sandbox.path / folder).mkdir()
    entries = walk(sandbox, most=100)
    assert next(entries).path == "a"
    (sandbox.path / "a").rmdir()
    if become == "a file":
        (sandbox.path / "a").touch()
    elif become == "a link":
        (sandbox.path / "a").symlink_to("/")
    assert [found.path for found in entries] == ["b"]


async def test_stat(threads: Threads, sandbox: Sandbox, filled: Path) -> None:
    (filled / "b.txt").chmod(0o640)
    os.utime(filled / "b.txt", (0, 1234567890.5))
    assert await file_stat(threads, sandbox, "./b.txt") == {
        "path": "b.txt",
        "type": "file",
        "size": 1,
        "mode": 0o640,
        "mtime": 1234567890.5,
    }
    digest = hashlib.sha256(b"123").hexdigest()
    assert (await file_stat(threads, sandbox, "b/c/f", sha256=True))["sha256"] == digest
    assert (await file_stat(threads, sandbox, "a"))["type"] == "link"
    assert (await file_stat(threads, sandbox, "b"))["type"] == "dir"
    assert (await file_stat(threads, sandbox, ""))["type"] == "dir"


@pytest.mark.usefixtures("filled")
async def test_stat_errors(threads: Threads, sandbox: Sandbox, descriptors: Callable[[], int]) -> None:
    await file_list(threads, sandbox)
    before = descriptors()
    for path, sha256, error in [
        ("b/none", False, FileNotFoundError),
        ("../x", False, ValueError),
        ("b", True, IsADirectoryError),
        ("b/fifo", True, ValueError),
    ]:
        with pytest.raises(error, match=path.replace(".", r"\.")):
            await file_stat(threads, sandbox, path, sha256=sha256)
    assert descriptors() == before


async def test_no_digest_of_a_file_of_huge_holes(threads: Threads, sandbox: Sandbox) -> None:
    with (sandbox.path / "f").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(ValueError, match="holes"):
        await file_stat(threads, sandbox, "f", sha256=True)


@pytest.mark.parametrize(
    ("after", "limit", "error"),
    [
        (b"a", 1, TypeError),
        (None, "1", TypeError),
        (None, True, TypeError),
        (None, 0, ValueError),
        (None, -1, ValueError),
    ],
)
async def test_invalid_pages(
    threads: Threads, sandbox: Sandbox, after: Any, limit: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await file_list(threads, sandbox, after=after, limit=limit)


async def test_a_page_of_another_folder(threads: Threads, sandbox: Sandbox) -> None:
    (sandbox.path / "d").mkdir()
    with pytest.raises(ValueError, match="after"):
        await file_list(threads, sandbox, "d", after="e/f")
