"""Small files that are replaced at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pagent.config.replacing import replace_file


def test_the_file_has_the_content_the_mode_and_the_owner(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("before")
    replace_file(target, "ä\n", 0o640, (os.getuid(), os.getgid()))
    assert target.read_text("utf-8") == "ä\n"
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_cannot_be_replaced_stays_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "in it").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        replace_file(folder, "x", 0o600)
    assert os.listdir(tmp_path) == ["folder"]
