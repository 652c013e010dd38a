from __future__ import annotations

import asyncio
import gzip
import io
import os
import stat
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagent.files.archive import ArchiveDownload, ArchiveUpload
from pagent.jobs.sandbox import Sandbox
from pagent.runtime.threads import Threads
from tests.kit.tars import archive, info

BIG = os.urandom(700_000)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Sandbox]:
    made = Sandbox.create(tmp_path, "other")
    yield made
    made.remove()


async def put(threads: Threads, sandbox: Sandbox, *parts: bytes) -> int:
    async with ArchiveUpload(threads, sandbox) as upload:
        for part in parts:
            await upload.write(part)
        return await upload.finish()


async def get(threads: Threads, sandbox: Sandbox, **options: Any) -> bytes:
    async with await ArchiveDownload.open(threads, sandbox, **options) as download:
        data = b"".join([chunk async for chunk in download])
        assert len(data) == download.size
        return data


def tree(sandbox: Sandbox) -> dict[str, tuple[int, int, bytes | None]]:
    found: dict[str, tuple[int, int, bytes | None]] = {}
    for path in sorted(sandbox.path.rglob("*")):
        status = path.stat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(sandbox.path))] = stat.S_IMODE(status.st_mode), int(status.st_mtime), content
    return found


def fill(sandbox: Sandbox) -> None:
    (sandbox.path / "d" / "empty").mkdir(parents=True)
    (sandbox.path / "d" / "big").write_bytes(BIG)
    (sandbox.path / ("ä" * 60)).write_text("x")
    (sandbox.path / "d" / "run").write_text("#!")
    (sandbox.path / "d" / "run").chmod(0o755)
    (sandbox.path / "d" / "empty").chmod(0o700)
    for path in (sandbox.path / "d" / "empty", sandbox.path / "d"):
        os.utime(path, (0, 1_000_000))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("chunk_size", [1000, 65536, 1 << 20])
async def test_round_trip(threads: Threads, sandbox: Sandbox, other: Sandbox, compress: bool, chunk_size: int) -> None:
    fill(sandbox)
    async with await ArchiveDownload.open(threads, sandbox, compress=compress, chunk_size=chunk_size) as download:
        chunks = [chunk async for chunk in download]
    assert {len(chunk) for chunk in chunks[:-1]} <= {chunk_size}
    assert sum(map(len, chunks)) == download.size
    assert await put(threads, other, *chunks) == download.size
    assert tree(other) == tree(sandbox)
    assert len(tree(sandbox)) == 5


async def test_a_compressed_archive_is_gzip_and_leaves_no_spool(threads: Threads, sandbox: Sandbox) -> None:
    fill(sandbox)
    before = tree(sandbox)
    data = await get(threads, sandbox, compress=True)
    assert gzip.decompress(data) == await get(threads, sandbox)
    assert data == await get(threads, sandbox, compress=True)
    assert tree(sandbox) == before


async def test_masks_reach_the_packer(threads: Threads, sandbox: Sandbox) -> None:
    fill(sandbox)
    data = await get(threads, sandbox, include_mask="d/*", exclude_mask="*big")
    with tarfile.open(fileobj=io.BytesIO(data)) as reader:
        assert reader.getnames() == ["d/empty", "d/run"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"chunk_size": 0}, ValueError),
        ({"chunk_size": True}, TypeError),
        ({"chunk_size": 1.0}, TypeError),
        ({"include_mask": 1}, TypeError),
        ({"exclude_mask": b"*"}, TypeError),
    ],
)
async def test_bad_options(threads: Threads, sandbox: Sandbox, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        await ArchiveDownload.open(threads, sandbox, **options)


@given(cuts=st.lists(st.integers(0, 1_000_000), max_size=8), compress=st.booleans())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_split_unpacks_the_same(threads: Threads, sandbox: Sandbox, cuts: list[int], compress: bool) -> None:
    data = archive((info("d/big"), BIG), (info("few"), b"few"), (info("d", tarfile.DIRTYPE), b""))
    if compress:
        data = gzip.compress(data, 1)
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    parts = [data[start:end] for start, end in pairwise(edges)]
    assert asyncio.run(put(threads, sandbox, *parts)) == len(data)
    assert {name: content for name, (_, _, content) in tree(sandbox).items()} == {
        "d": None,
        "d/big": BIG,
        "few": b"few",
    }


async def test_an_error_ends_the_upload_and_leaves_what_was_complete(
    threads: Threads, sandbox: Sandbox, descriptors: Callable[[], int]
) -> None:
    await put(threads, sandbox, archive())
    before = descriptors()
    data = archive((info("a"), b"x"), (info("b"), BIG))
    for parts, text in [
        ((data[:400_000],), "truncated"),
        ((data[:1024] + b"junk" * 1000,), "corrupt"),
        ((b"",), "empty"),
        ((b"junk" * 1000,), "not a tar archive"),
        ((gzip.compress(data)[:300_000],), "truncated"),
    ]:
        with pytest.raises(ValueError, match=text):
            await put(threads, sandbox, *parts)
        assert set(tree(sandbox)) <= {"a"}
        assert descriptors() == before


async def test_cancelled_anywhere_nothing_stays_half_written(
    threads: Threads, sandbox: Sandbox, descriptors: Callable[[], int], cancelled_everywhere: Callable[..., Any]
) -> None:
    data = archive(*[(info(f"f{number}"), BIG) for number in range(3)])
    parts = [data[at : at + 100_000] for at in range(0, len(data), 100_000)]
    await put(threads, sandbox, archive())
    before = descriptors()
    left = set()
    async for task in cancelled_everywhere(lambda cancelling: put(cancelling, sandbox, *parts)):
        assert task.cancelled() or task.result() == len(data)
        assert descriptors() == before
        left.add(len(os.listdir(sandbox.path)))
        for name in os.listdir(sandbox.path):
            assert (sandbox.path / name).read_bytes() == BIG
            (sandbox.path / name).unlink()
    assert {0, 1, 2, 3} == left


@pytest.mark.parametrize("compress", [False, True])
async def test_a_cancelled_download_leaves_no_descriptor(
    threads: Threads,
    sandbox: Sandbox,
    descriptors: Callable[[], int],
    cancelled_everywhere: Callable[..., Any],
    compress: bool,
) -> None:
    fill(sandbox)
    await get(threads, sandbox)
    files = tree(sandbox)
    before = descriptors()
    async for _ in cancelled_everywhere(lambda cancelling: get(cancelling, sandbox, compress=compress)):
        assert descriptors() == before
        assert tree(sandbox) == files


async def test_uploads_and_downloads_share_one_thread(threads: Threads, sandbox: Sandbox, other: Sandbox) -> None:
    """They advance in turns. None would finish if another kept the thread while it waits for its peer."""
    fill(sandbox)
    data = await get(threads, sandbox)
    uploads = [ArchiveUpload(threads, other) for _ in range(3)]
    downloads = [await ArchiveDownload.open(threads, sandbox) for _ in range(3)]
    received: list[bytearray] = [bytearray() for _ in downloads]
    for start in range(0, len(data), 65536):
        for upload in uploads:
            await upload.write(data[start : start + 65536])
        for download, gathered in zip(downloads, received, strict=True):
            gathered += await anext(download)
    for upload in uploads:
        assert await upload.finish() == len(data)
    assert all(gathered == data for gathered in received)
    for download in downloads:
        await download.close()
    assert tree(other) == tree(sandbox)


async def test_a_full_disk(threads: Threads, full_disk: Sandbox) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        await put(threads, full_disk, archive((info("a"), b"x"), (info("b"), BIG * 2)))
    assert os.listdir(full_disk.path) == ["a"]
    (full_disk.path / "b").write_bytes(BIG)
    with pytest.raises(OSError, match="No space left on device"):
        await get(threads, full_disk, compress=True)
    (full_disk.path / "c").write_bytes(BIG[:300_000])
    assert len(await get(threads, full_disk)) > 1_000_000
    assert sorted(os.listdir(full_disk.path)) == ["a", "b", "c"]


@pytest.mark.slow
async def test_memory_stays_small(threads: Threads, sandbox: Sandbox, other: Sandbox) -> None:
    """A round trip of a file of 64 MiB and 1500 small ones."""
    with (sandbox.path / "hole").open("wb") as file:
        file.truncate(64 << 20)
    (sandbox.path / "many").mkdir()
    for number in range(1500):
        (sandbox.path / "many" / f"{number}").touch()
    tracemalloc.start()
    try:
        async with (
            ArchiveUpload(threads, other) as upload,
            await ArchiveDownload.open(threads, sandbox) as download,
        ):
            async for chunk in download:
                await upload.write(chunk)
            assert await upload.finish() == download.size
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert len(os.listdir(other.path / "many")) == 1500
