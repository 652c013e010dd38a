from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from pagent import limits
from pagent.files.entries import SandboxEntry, Skipped, is_shortage, reason_of


def test_each_kind_of_entry(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "other")
    for name in ("file", "dir", "link", "other"):
        assert SandboxEntry.of(name, os.lstat(tmp_path / name)).kind == name
    file = SandboxEntry.of("file", os.lstat(tmp_path / "file"))
    assert (file.size, file.holes, file.error) == (3, 0, None)
    with socket.socket(socket.AF_UNIX) as made:
        assert SandboxEntry.of("socket", os.fstat(made.fileno())).kind == "other"


@pytest.mark.parametrize("mtime_ns", [0, 1, 10**18 + 1, -1, -(10**9)])
def test_an_entry_as_a_message(mtime_ns: int) -> None:
    entry = SandboxEntry("a", "file", 3, 0o640, mtime_ns)
    message = entry.as_dict()
    assert message.pop("mtime") == pytest.approx(mtime_ns / 10**9, abs=1e-6)
    assert message == {"path": "a", "type": "file", "size": 3, "mode": 0o640}
    assert entry._replace(error="why").as_dict()["error"] == "why"


def test_skipped_entries_are_counted_and_the_first_are_named() -> None:
    skipped = Skipped()
    for number in range(limits.SKIPPED_NAMES + 5):
        skipped.add(f"n{number}", "why")
    result = skipped.as_dict()
    assert result["skipped"] == limits.SKIPPED_NAMES + 5
    assert result["names"] == [f"n{number}: why" for number in range(limits.SKIPPED_NAMES)]
    result["names"].clear()
    assert len(skipped.names) == limits.SKIPPED_NAMES


@pytest.mark.parametrize(("count", "end"), [(1, ""), (5, ""), (6, ", ...")])
def test_the_text_for_a_log_names_five(count: int, end: str) -> None:
    skipped = Skipped()
    for number in range(count):
        skipped.add(str(number) * 300, "why")
    names = [f"{number}" * 200 for number in range(min(count, 5))]
    assert str(skipped) == f"{count} skipped: {'; '.join(names)}{end}"


def test_reasons_name_no_path() -> None:
    assert reason_of(PermissionError(errno.EACCES, "Permission denied", "/secret")) == "Permission denied"
    assert reason_of(OSError(errno.EXDEV, "x", "/secret")) == "another file system is mounted there"
    assert reason_of(OSError("only a text")) == "only a text"
    assert reason_of(ValueError("bad")) == "bad"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT])
def test_a_shortage_of_the_agent_is_no_fault_of_an_entry(number: int) -> None:
    assert is_shortage(OSError(number, "x"))
    assert not is_shortage(OSError(errno.EACCES, "x"))
