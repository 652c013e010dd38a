"""Output files, and the descriptors that are kept of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagent.jobs.kept_logs import KeptLogs


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    before = len(os.listdir("/dev/fd"))
    yield descriptor
    assert len(os.listdir("/dev/fd")) == before
    os.close(descriptor)


def content(descriptor: int) -> bytes:
    data = os.pread(descriptor, 1000, 0)
    os.close(descriptor)
    return data


def test_what_takes_its_name_is_not_read(folder: int, tmp_path: Path) -> None:
    logs = KeptLogs()
    writing = logs.make("log", folder)
    os.write(writing, b"one")
    (tmp_path / "other").write_bytes(b"other")
    os.replace(tmp_path / "other", tmp_path / "log")
    os.write(writing, b"two")
    assert content(logs.open("log")) == b"onetwo"
    (tmp_path / "log").unlink()
    assert content(logs.open("log")) == b"onetwo"
    assert logs.names() == ["log"]
    os.close(writing)
    logs.close()
    with pytest.raises(FileNotFoundError, match="log"):
        logs.open("log")


def test_made_twice_the_new_one_counts(folder: int, tmp_path: Path) -> None:
    logs = KeptLogs()
    os.close(logs.make("log", folder))
    (tmp_path / "log").unlink()
    writing = logs.make("log", folder)
    os.write(writing, b"new")
    os.close(writing)
    assert content(logs.open("log")) == b"new"
    assert logs.size() == 3
    logs.close()
    assert logs.size() == 0


def test_one_that_is_there_is_emptied(folder: int, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"old")
    logs = KeptLogs()
    writing = logs.make("log", folder)
    assert os.get_blocking(writing)
    assert content(logs.open("log")) == b""
    os.close(writing)
    logs.close()


def test_one_with_other_names_is_left_to_them(folder: int, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    os.link(tmp_path / "other", tmp_path / "log")
    logs = KeptLogs()
    writing = logs.make("log", folder)
    os.write(writing, b"log")
    os.close(writing)
    assert content(logs.open("log")) == b"log"
    assert (tmp_path / "other").read_bytes() == b"other"
    logs.close()


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder"])
def test_what_is_no_regular_file(folder: int, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        (tmp_path / "other").write_bytes(b"other")
        path.symlink_to("other" if kind == "link" else "nowhere")
    with pytest.raises((ValueError, IsADirectoryError)):
        KeptLogs().make("log", folder)
