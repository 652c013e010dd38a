"""Local files and folders of transfers: special files, holes, and threads that end."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagent.client.local_files import local_folder, reading
from tests.kit.peer import PATIENCE_S


async def content(path: Path, offset: int = 0, *, holes: bool = False) -> bytes:
    """Read a file to its end, with zeros in the place of holes."""
    found = b""
    async with reading(path, offset, holes=holes) as (threads, file):
        while piece := await threads.run(file.read):
            found += bytes(piece) if isinstance(piece, int) else piece
    return found


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=50), st.integers(0, 60), st.booleans())
async def test_a_file_from_any_offset(tmp_path: Path, data: bytes, offset: int, holes: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert await content(path, offset, holes=holes) == data[offset:]


async def test_a_file_with_holes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(5_000_000)
        file.write(b"end")
        file.truncate(9_000_000)
    for holes in (False, True):
        assert await content(path, holes=holes) == path.read_bytes()
        assert await content(path, 4_000_000, holes=holes) == path.read_bytes()[4_000_000:]


async def test_digests(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = os.urandom(2_500_000)
    path.write_bytes(data)
    async with reading(path) as (threads, file):
        for size in (0, 1, 1 << 20, (1 << 20) + 1, len(data)):
            expected = hashlib.sha256(data[:size]).hexdigest(), hashlib.sha256(data).hexdigest()
            assert await threads.run(file.digests, size) == expected


async def test_a_pipe_has_no_digests_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    try:
        async with reading(path) as (threads, file):
            with pytest.raises(ValueError, match="fifo is not a regular file: its upload cannot be resumed"):
                await threads.run(file.digests, 0)
            os.write(writer, b"data")
            assert await threads.run(file.read) == b"data"
    finally:
        os.close(writer)


async def test_a_file_or_folder_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = set(threading.enumerate())
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(OSError, match=path.name):
            async with local_folder(path):
                pytest.fail("it was opened")
    with pytest.raises(FileNotFoundError, match="none"):
        async with reading(tmp_path / "none"):
            pytest.fail("it was opened")
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


async def test_a_folder_is_made_if_that_is_wanted(tmp_path: Path) -> None:
    async with local_folder(tmp_path / "a/b", create=True) as (threads, folder):
        assert await threads.run(os.listdir, tmp_path / "a") == ["b"]
        assert folder.path == tmp_path / "a/b"
