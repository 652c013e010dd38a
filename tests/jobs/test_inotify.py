"""Watches of files by the kernel."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagent.jobs.inotify import FileWatches
from tests.jobs.conftest import PATIENCE_S
from tests.kit.descriptors import left_open, targets

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no inotify here")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[int, int]]:
    first, second = (os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT) for name in "ab")
    yield first, second
    os.close(first)
    os.close(second)


async def test_watches_report_their_file(files: tuple[int, int]) -> None:
    first, second = files
    written: asyncio.Queue[int] = asyncio.Queue()
    watches = FileWatches.open(written.put_nowait)
    assert watches is not None
    try:
        once, always = watches.add(first, once=True), watches.add(second, once=False)
        async with asyncio.timeout(PATIENCE_S):
            for file, watch in ((first, once), (second, always), (second, always)):
                os.write(file, b"x")
                assert await written.get() == watch
            os.write(first, b"x")  # its watch has ended
            watches.remove(always)
            os.write(second, b"x")
            again = watches.add(first, once=True)
            os.write(first, b"x")
            assert await written.get() == again
    finally:
        watches.close()


async def test_a_file_that_is_not_open_has_no_watch() -> None:
    before = targets()
    watches = FileWatches.open(lambda watch: None)
    assert watches is not None
    assert left_open(before)
    assert watches.add(1 << 20, once=False) == -1
    watches.close()
    assert left_open(before) == {}
