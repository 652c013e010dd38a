"""Waiting for changes, with inotify and without."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagent.jobs import changes
from pagent.jobs.changes import Changes
from pagent.jobs.inotify import FileWatches
from tests.jobs.conftest import PATIENCE_S
from tests.kit.descriptors import left_open, targets


@pytest.fixture(params=["inotify", "clock"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "clock":
        monkeypatch.setattr(FileWatches, "open", lambda written: None)
        monkeypatch.setattr(changes, "_LOOK_S", 0.01)
    elif not sys.platform.startswith("linux"):
        pytest.skip("no inotify here")
    return str(request.param)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


async def test_a_write_ends_the_wait(file: int, way: str) -> None:
    async with asyncio.timeout(PATIENCE_S), Changes(file) as watched:
        waiting = asyncio.create_task(watched.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        os.write(file, b"x")
        await waiting


async def test_a_write_before_the_wait_is_not_lost_and_ends_one_wait_only(file: int, way: str) -> None:
    async with asyncio.timeout(PATIENCE_S), Changes(file) as watched:
        os.write(file, b"x")
        await watched.next()
        again = asyncio.create_task(watched.next())
        if way == "inotify":
            for _ in range(3):
                await asyncio.sleep(0)
            assert not again.done()
            os.write(file, b"y")
        await again


async def test_it_can_be_woken(file: int, way: str) -> None:
    async with asyncio.timeout(PATIENCE_S), Changes(file) as watched:
        waiting = asyncio.create_task(watched.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        watched.wake()
        await waiting


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
async def test_no_descriptor_is_left(file: int, way: str) -> None:
    before = targets()
    with pytest.raises(ValueError, match="the user's"):
        async with Changes(file):
            raise ValueError("the user's")
    assert left_open(before) == {}
