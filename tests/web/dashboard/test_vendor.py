"""The files of other projects are those that their packages ship, with their licences."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = [ROOT / "pagent/web/dashboard/assets/vendor", ROOT / "tests/browser/vendor"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parts[-3])
def test_each_file_is_the_one_that_the_notice_names(folder: Path) -> None:
    lines = [line.split() for line in (folder / "NOTICE").read_text().splitlines()[1:]]
    named = {name: digest for digest, name, *_ in lines}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    del found["NOTICE"]
    assert found == named
    packages = {source.partition(":")[0] for _, _, source, _ in lines}
    licences = {source.partition(":")[0] for _, name, source, _ in lines if "LICENSE" in name}
    assert packages == licences
