"""The files of a spool: order, space that is given back, and a close at any moment."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pagent.rpc.spool_files import SPOOL_FILE, SpoolFiles
from pagent.rpc.spool_records import Record
from tests.kit.peer import PATIENCE_S


class Folder:
    """Opens files without a name, and remembers their descriptors."""

    def __init__(self, path: Path) -> None:
        self._path = path / "spool"
        self.opened: list[int] = []

    def open(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._path.unlink()
        self.opened.append(descriptor)
        return descriptor

    @property
    def still_open(self) -> list[int]:
        return [descriptor for descriptor in self.opened if is_open(descriptor)]


def is_open(descriptor: int) -> bool:
    try:
        return os.fstat(descriptor).st_nlink == 0
    except OSError:
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path)
    yield made
    assert made.still_open == []


def read_all(files: SpoolFiles, records: int) -> list[Record]:
    taken: list[Record] = []
    while len(taken) < records:
        taken += files.read(1000)
    return taken


def test_records_come_back_in_order(folder: Folder) -> None:
    files = SpoolFiles(folder.open)
    assert not files.is_open
    sent: list[Record] = [bytes([number]) * number * 50 for number in range(100)]
    files.write(sent[:30])
    assert files.is_open
    first = files.read(1)  # at least one, however small the size
    assert first == sent[:1]
    files.write(sent[30:])
    assert read_all(files, len(sent) - 1) == sent[1:]
    files.close()


def test_a_file_that_has_been_read_is_closed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SPOOL_FILE > 1 << 20
    monkeypatch.setattr("pagent.rpc.spool_files.SPOOL_FILE", 3000)
    files = SpoolFiles(folder.open)
    for number in range(30):
        files.write([bytes([number]) * 995])
    assert len(folder.still_open) == 10
    for left in (10, 10, 10, 9, 9, 9, 8):
        assert len(folder.still_open) == left
        files.read(1000)
    files.close()


def test_a_file_that_was_truncated_is_an_error(folder: Folder) -> None:
    files = SpoolFiles(folder.open)
    files.write([b"x" * 100])
    os.ftruncate(folder.opened[0], 0)
    with pytest.raises(OSError, match="the file has become shorter"):
        files.read(1000)
    files.close()


@pytest.mark.parametrize("size", [3, 50])
def test_a_record_that_was_truncated_is_an_error(folder: Folder, size: int) -> None:
    files = SpoolFiles(folder.open)
    files.write([b"x" * 100])
    os.ftruncate(folder.opened[0], size)
    with pytest.raises(OSError, match="the file has become shorter"):
        files.read(1000)
    files.close()


def test_closed_files_take_and_give_nothing(folder: Folder) -> None:
    files = SpoolFiles(folder.open)
    files.write([b"x"])
    files.close()
    files.write([b"y"])
    assert files.read(1000) == []
    assert len(folder.opened) == 1


def in_a_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("opens_first", [False, True], ids=["before the file is there", "after"])
def test_a_close_during_a_write_leaves_the_file_to_the_thread(folder: Folder, opens_first: bool) -> None:
    inside, resume = threading.Event(), threading.Event()

    def slow_open() -> int:
        descriptor = folder.open() if opens_first else -1
        inside.set()
        assert resume.wait(PATIENCE_S)
        return descriptor if opens_first else folder.open()

    files = SpoolFiles(slow_open)
    thread = in_a_thread(lambda: files.write([b"x"]))
    assert inside.wait(PATIENCE_S)
    files.close()
    assert len(folder.still_open) == opens_first
    resume.set()
    thread.join(PATIENCE_S)
    assert folder.still_open == []


def test_an_error_of_the_disk_is_raised(folder: Folder) -> None:
    files = SpoolFiles(lambda: os.open("/dev/full", os.O_RDWR))
    with pytest.raises(OSError, match="No space left on device"):
        files.write([b"x" * 100_000])
    files.close()
    missing = SpoolFiles(lambda: os.open("/nowhere/at-all", os.O_RDWR))
    with pytest.raises(FileNotFoundError):
        missing.write([b"x"])
    missing.close()


def test_files_that_have_ended_are_closed_by_the_thread_that_uses_them(folder: Folder) -> None:
    opening, ended = threading.Event(), threading.Event()

    def slow_open() -> int:
        opening.set()
        assert ended.wait(PATIENCE_S)
        return folder.open()

    files = SpoolFiles(slow_open)
    writer = threading.Thread(target=files.write, args=([b"late"],))
    writer.start()
    assert opening.wait(PATIENCE_S)
    files.end()
    ended.set()
    writer.join(PATIENCE_S)
    assert len(folder.opened) == 1
    assert folder.still_open == []
