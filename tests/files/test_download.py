from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pagent.files.download import Download
from pagent.files.upload import Upload
from pagent.jobs.sandbox import Sandbox
from pagent.runtime.threads import Threads
from tests.files.transfers import BIG, get, names, put


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("chunk_size", [1, 7, 65536, 300_000, 1 << 20])
async def test_chunks_have_their_size_but_the_last(threads: Threads, sandbox: Sandbox, chunk_size: int) -> None:
    data = BIG[: 1000 if chunk_size == 1 else len(BIG)]
    (sandbox.path / "f").write_bytes(data)
    download = await Download.open(threads, sandbox, "f", chunk_size=chunk_size)
    assert download.size == len(data)
    chunks = [chunk async for chunk in download]
    assert b"".join(chunks) == data
    assert {len(chunk) for chunk in chunks[:-1]} <= {chunk_size}
    assert 0 < len(chunks[-1]) <= chunk_size
    with pytest.raises(StopAsyncIteration):
        await anext(download)


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, None, "0123456789"), (3, None, "3456789"), (3, 4, "3456"), (10, None, ""), (0, 0, ""), (8, 100, "89")],
)
async def test_ranges(threads: Threads, sandbox: Sandbox, offset: int, length: int | None, expected: str) -> None:
    (sandbox.path / "f").write_text("0123456789")
    assert await get(threads, sandbox, "f", offset=offset, length=length) == expected.encode()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"chunk_size": 0}, ValueError),
        ({"chunk_size": (1 << 20) + 1}, ValueError),
        ({"chunk_size": True}, TypeError),
        ({"chunk_size": 1024.0}, TypeError),
        ({"chunk_size": None}, TypeError),
        ({"offset": 11}, ValueError),
        ({"offset": -1}, ValueError),
        ({"offset": None}, TypeError),
        ({"length": -1}, ValueError),
        ({"length": 1.5}, TypeError),
        ({"length": False}, TypeError),
    ],
)
async def test_bad_download_options(
    threads: Threads, sandbox: Sandbox, options: dict[str, Any], error: type[Exception]
) -> None:
    (sandbox.path / "f").write_text("0123456789")
    with pytest.raises(error, match=next(iter(options))):
        await Download.open(threads, sandbox, "f", **options)


async def test_what_cannot_be_sent(threads: Threads, sandbox: Sandbox, descriptors: Callable[[], int]) -> None:
    os.mkfifo(sandbox.path / "fifo")
    (sandbox.path / "d").mkdir()
    (sandbox.path / "out").symlink_to("/etc/passwd")
    await put(threads, sandbox, "warm", b"")
    before = descriptors()
    for path, error in [
        ("missing", FileNotFoundError),
        ("d", IsADirectoryError),
        ("fifo", ValueError),
        ("out", ValueError),
        ("../x", ValueError),
        ("/etc/passwd", ValueError),
    ]:
        with pytest.raises(error):
            await Download.open(threads, sandbox, path)
    assert descriptors() == before


async def test_a_file_that_grows_is_cut_at_its_size(threads: Threads, sandbox: Sandbox) -> None:
    output = sandbox.open_output(".pagent.stdout")
    try:
        os.write(output, BIG)
        download = await Download.open(threads, sandbox, ".pagent.stdout")
        os.write(output, b"more")
        assert b"".join([chunk async for chunk in download]) == BIG
    finally:
        os.close(output)


async def test_a_file_that_becomes_shorter_is_an_error(
    threads: Threads, sandbox: Sandbox, descriptors: Callable[[], int]
) -> None:
    await put(threads, sandbox, "f", BIG)
    before = descriptors()
    download = await Download.open(threads, sandbox, "f", remove=True)
    os.truncate(sandbox.path / "f", 100)
    with pytest.raises(OSError, match="shorter while it was sent: 'f'"):
        [chunk async for chunk in download]
    assert names(sandbox) == ["f"]
    assert descriptors() == before


async def test_remove_deletes_after_the_last_chunk_is_taken(threads: Threads, sandbox: Sandbox) -> None:
    (sandbox.path / "f").write_bytes(BIG[:100])
    download = await Download.open(threads, sandbox, "f", chunk_size=60, remove=True)
    await anext(download)
    await anext(download)
    assert names(sandbox) == ["f"]
    with pytest.raises(StopAsyncIteration):
        await anext(download)
    assert names(sandbox) == []


async def test_remove_spares_another_file_a_broken_off_transfer_and_a_cut_one(
    threads: Threads, sandbox: Sandbox
) -> None:
    (sandbox.path / "f").write_text("0123456789")
    download = await Download.open(threads, sandbox, "f", remove=True)
    (sandbox.path / "new").write_text("another")
    (sandbox.path / "new").rename(sandbox.path / "f")
    assert [chunk async for chunk in download] == [b"0123456789"]
    assert (sandbox.path / "f").read_text() == "another"

    download = await Download.open(threads, sandbox, "f", chunk_size=2, remove=True)
    await anext(download)
    await download.close()
    assert names(sandbox) == ["f"]

    assert await get(threads, sandbox, "f", length=3, remove=True) == b"ano"
    assert names(sandbox) == ["f"]
    assert await get(threads, sandbox, "f", offset=3, remove=True) == b"ther"
    assert names(sandbox) == []


async def test_remove_takes_what_has_the_name(threads: Threads, sandbox: Sandbox) -> None:
    (sandbox.path / "f").write_text("kept")
    (sandbox.path / "link").symlink_to("f")
    assert await get(threads, sandbox, "link", remove=True) == b"kept"
    assert names(sandbox) == ["f"]


async def test_remove_of_a_file_that_is_gone_by_then(threads: Threads, sandbox: Sandbox) -> None:
    (sandbox.path / "f").write_text("x")
    download = await Download.open(threads, sandbox, "f", remove=True)
    (sandbox.path / "f").unlink()
    assert [chunk async for chunk in download] == [b"x"]


async def test_cancelled_anywhere_a_download_leaves_no_descriptor(
    threads: Threads, sandbox: Sandbox, descriptors: Callable[[], int], cancelled_everywhere: Callable[..., Any]
) -> None:
    await put(threads, sandbox, "f", BIG)
    before = descriptors()
    async for task in cancelled_everywhere(lambda cancelling: get(cancelling, sandbox, "f")):
        assert descriptors() == before
        assert task.cancelled() or task.result() == BIG


async def test_transfers_share_one_thread(threads: Threads, sandbox: Sandbox) -> None:
    """Ten of each at once, none of which could continue if another kept the thread while it waits."""
    (sandbox.path / "f").write_bytes(BIG)
    uploads = [await Upload.open(threads, sandbox, f"up{n}") for n in range(10)]
    downloads = [await Download.open(threads, sandbox, "f") for _ in range(10)]
    for start in range(0, len(BIG), 300_000):
        for upload in uploads:
            await upload.write(BIG[start : start + 300_000])
    for download in downloads:
        assert b"".join([chunk async for chunk in download]) == BIG
    for number, upload in enumerate(uploads):
        await upload.commit()
        assert (sandbox.path / f"up{number}").read_bytes() == BIG


async def test_memory_stays_small(threads: Threads, sandbox: Sandbox) -> None:
    size = 64 << 20
    with (sandbox.path / "hole").open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        count = 0
        async with (
            await Download.open(threads, sandbox, "hole") as download,
            await Upload.open(threads, sandbox, "copy") as upload,
        ):
            async for chunk in download:
                count += len(chunk)
                if count < 16 << 20:
                    await upload.write(chunk)
        assert count == size
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()
