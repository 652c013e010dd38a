from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import stat
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagent.files.download import Download
from pagent.files.transfer import DISK_BLOCK_MOST, Upload
from pagent.jobs.sandbox import Sandbox
from pagent.names import from_wire, partial_of
from pagent.runtime.threads import ThreadPool, Threads

MIB = 1 << 20
BIG = os.urandom(700_000)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


async def put(threads: Threads, sandbox: Sandbox, path: str, *parts: bytes, **options: Any) -> int:
    async with await Upload.open(threads, sandbox, path, **options) as upload:
        for part in parts:
            await upload.write(part)
        return await upload.commit()


async def get(threads: Threads, sandbox: Sandbox, path: str, **options: Any) -> bytes:
    async with await Download.open(threads, sandbox, path, **options) as download:
        data = b"".join([chunk async for chunk in download])
        assert len(data) == download.size
        return data


def names(sandbox: Sandbox) -> list[str]:
    return sorted(os.listdir(sandbox.path))


# --- upload ---------------------------------------------------------------------------------------


async def test_an_upload_appears_when_it_is_whole(threads: Threads, sandbox: Sandbox) -> None:
    upload = await Upload.open(threads, sandbox, "d/e/run.sh", executable=True)
    await upload.write(b"#!/bin/sh\n")
    await upload.write(memoryview(b"echo\n"))
    assert [name[:15] for name in os.listdir(sandbox.path / "d/e")] == [".pagent-upload-"]
    assert await upload.commit() == 15
    await upload.abort()
    file = sandbox.path / "d/e/run.sh"
    assert file.read_bytes() == b"#!/bin/sh\necho\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    assert os.listdir(file.parent) == ["run.sh"]


@given(parts=st.lists(st.one_of(st.binary(max_size=20), st.integers(0, 600_000).map(lambda n: BIG[:n])), max_size=6))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_split_gives_the_same_file(threads: Threads, sandbox: Sandbox, parts: list[bytes]) -> None:
    whole = b"".join(parts)
    digest = hashlib.sha256(whole).hexdigest().upper()
    assert asyncio.run(put(threads, sandbox, "f", *parts, sha256=digest)) == len(whole)
    assert (sandbox.path / "f").read_bytes() == whole
    assert names(sandbox) == ["f"]


async def test_an_upload_replaces_a_file_and_not_what_a_link_leads_to(threads: Threads, sandbox: Sandbox) -> None:
    (sandbox.path / "f").write_text("old")
    (sandbox.path / "f").chmod(0o4777)
    (sandbox.path / "link").symlink_to("f")
    await put(threads, sandbox, "link", b"by link")
    assert (sandbox.path / "f").read_text() == "old"
    assert not (sandbox.path / "link").is_symlink()
    await put(threads, sandbox, "f", b"new")
    assert (sandbox.path / "f").read_text() == "new"
    assert stat.S_IMODE((sandbox.path / "f").stat().st_mode) == 0o777


@pytest.mark.parametrize(
    ("mode", "executable", "expected"),
    [
        (0o600, False, 0o600),
        (0o755, False, 0o755),
        (0o640, True, 0o751),
        (0o400, False, 0o400),
        (0o4750, False, 0o750),
    ],
)
async def test_an_upload_over_a_file_keeps_its_mode(
    threads: Threads, sandbox: Sandbox, mode: int, executable: bool, expected: int
) -> None:
    target = sandbox.path / "f"
    target.write_text("old")
    target.chmod(mode)
    async with await Upload.open(threads, sandbox, "f", executable=executable) as upload:
        await upload.write(b"new")
        [unfinished] = sandbox.path.glob(".pagent-upload-*")
        assert stat.S_IMODE(unfinished.stat().st_mode) & ~mode == 0  # nobody else can read it meanwhile
        await upload.commit()
    assert stat.S_IMODE(target.stat().st_mode) == expected
    assert target.read_text() == "new"


@pytest.mark.parametrize(
    "path",
    [
        ".pagent.stdout",
        "d/.pagent.stderr",
        ".pagent.x/f",
        "d/../.pagent.stdout",
        ".pagent-upload-1",
        ".pagent-spool-1",
        ".pagent-gone-1",
    ],
)
async def test_the_agents_own_files_are_no_targets(threads: Threads, sandbox: Sandbox, path: str) -> None:
    (sandbox.path / ".pagent.stdout").write_text("log")
    (sandbox.path / "d").symlink_to(".")
    before = sorted(os.listdir(sandbox.path))
    with pytest.raises(ValueError, match="belongs to the agent"):
        await Upload.open(threads, sandbox, path)
    with pytest.raises(ValueError, match="belongs to the agent"):
        await Download.open(threads, sandbox, path, remove=True)
    assert sorted(os.listdir(sandbox.path)) == before
    async with await Download.open(threads, sandbox, ".pagent.stdout") as download:
        assert [bytes(chunk) async for chunk in download if not isinstance(chunk, int)] == [b"log"]


async def test_what_cannot_be_replaced_is_refused_at_once(threads: Threads, sandbox: Sandbox) -> None:
    (sandbox.path / "d").mkdir()
    os.mkfifo(sandbox.path / "fifo")
    with pytest.raises(IsADirectoryError, match=r"directory: 'd'$"):
        await Upload.open(threads, sandbox, "d")
    with pytest.raises(ValueError, match="not a regular file: 'fifo'"):
        await Upload.open(threads, sandbox, "fifo")
    with pytest.raises(ValueError, match=r"^file path must be relative$"):
        await Upload.open(threads, sandbox, "/etc/absolute")
    with pytest.raises(ValueError, match="leaves the sandbox"):
        await Upload.open(threads, sandbox, "../x")
    with pytest.raises(ValueError, match="names a folder"):
        await Upload.open(threads, sandbox, "new/")
    assert names(sandbox) == ["d", "fifo"]


async def test_an_aborted_upload_leaves_nothing(
    threads: Threads, sandbox: Sandbox, descriptors: Callable[[], int]
) -> None:
    (sandbox.path / "f").write_text("old")
    await put(threads, sandbox, "warm", b"")
    before = descriptors()
    for size in (0, 10, 300_000):
        upload = await Upload.open(threads, sandbox, "f")
        await upload.write(BIG[:size])
        await upload.abort()
        await upload.abort()
        assert names(sandbox) == ["f", "warm"]
    assert (sandbox.path / "f").read_text() == "old"
    assert descriptors() == before


@pytest.mark.parametrize("partial", [False, True])
async def test_cancelled_anywhere_an_upload_leaves_nothing_half_written(
    threads: Threads,
    sandbox: Sandbox,
    descriptors: Callable[[], int],
    cancelled_everywhere: Callable[..., Any],
    partial: bool,
) -> None:
    await put(threads, sandbox, "f", b"")
    before = descriptors()
    parts = [BIG[:300_000], BIG[300_000:300_010], BIG[300_010:]]
    async for task in cancelled_everywhere(lambda cancelling: put(cancelling, sandbox, "f", *parts, partial=partial)):
        assert descriptors() == before
        assert set(names(sandbox)) <= {"f", "f.pagent-partial"}
        for name in names(sandbox):
            content = (sandbox.path / name).read_bytes()
            assert BIG.startswith(content)
            assert name != "f" or content in (b"", BIG)
            assert partial or name == "f"
        if not task.cancelled():
            assert names(sandbox) == ["f"]
            assert task.result() == len(BIG)
            return
        (sandbox.path / "f").write_bytes(b"")


async def test_a_wrong_digest_leaves_nothing(threads: Threads, sandbox: Sandbox) -> None:
    wrong = "0" * 64
    with pytest.raises(ValueError, match=f"sha256 of 'f' is {hashlib.sha256(b'x').hexdigest()}, not {wrong}"):
        await put(threads, sandbox, "f", b"x", sha256=wrong, partial=True)
    assert names(sandbox) == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"sha256": "xyz"}, ValueError),
        ({"sha256": "0" * 64 + "\n"}, ValueError),
        ({"sha256": b"0" * 64}, TypeError),
        ({"offset": -1}, ValueError),
        ({"offset": True}, TypeError),
        ({"offset": 1.0}, TypeError),
        ({"offset": "1"}, TypeError),
    ],
)
async def test_bad_options(threads: Threads, sandbox: Sandbox, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        await Upload.open(threads, sandbox, "f", **options)
    assert names(sandbox) == []


# --- continued uploads ----------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [1, 299_999, 300_000])
async def test_an_upload_goes_on_from_a_kept_part(threads: Threads, sandbox: Sandbox, offset: int) -> None:
    upload = await Upload.open(threads, sandbox, "d/f", partial=True)
    await upload.write(BIG[:300_000])
    await upload.abort()
    assert os.listdir(sandbox.path / "d") == ["f.pagent-partial"]
    assert (sandbox.path / "d/f.pagent-partial").stat().st_size == 300_000

    digest = hashlib.sha256(BIG).hexdigest()
    sent = await put(threads, sandbox, "d/f", BIG[offset:], offset=offset, sha256=digest, executable=True)
    assert sent == len(BIG) - offset
    assert (sandbox.path / "d/f").read_bytes() == BIG
    assert stat.S_IMODE((sandbox.path / "d/f").stat().st_mode) == 0o755
    assert os.listdir(sandbox.path / "d") == ["f"]


async def test_a_part_can_be_kept_again_and_again(threads: Threads, sandbox: Sandbox) -> None:
    for count in range(4):
        upload = await Upload.open(threads, sandbox, "f", offset=count, partial=True)
        await upload.write(str(count).encode())
        await upload.commit() if count == 3 else await upload.abort()
    assert (sandbox.path / "f").read_text() == "0123"
    assert names(sandbox) == ["f"]


async def test_gathered_bytes_of_an_aborted_upload_are_kept_too(threads: Threads, sandbox: Sandbox) -> None:
    upload = await Upload.open(threads, sandbox, "f", partial=True)
    await upload.write(b"few")
    await upload.abort()
    assert (sandbox.path / "f.pagent-partial").read_bytes() == b"few"


async def test_an_upload_without_a_byte_does_not_displace_a_kept_part(threads: Threads, sandbox: Sandbox) -> None:
    (sandbox.path / "f.pagent-partial").write_bytes(b"kept")
    for offset in (0, 3):
        upload = await Upload.open(threads, sandbox, "f", partial=True, offset=offset)
        await upload.abort()
    assert (sandbox.path / "f.pagent-partial").read_bytes() == b"kep"
    assert names(sandbox) == ["f.pagent-partial"]


@pytest.mark.parametrize(("kept", "text"), [(None, "0 bytes"), (b"1234", "4 bytes")])
async def test_an_offset_beyond_what_is_kept_names_the_size(
    threads: Threads, sandbox: Sandbox, kept: bytes | None, text: str
) -> None:
    if kept is not None:
        (sandbox.path / "f.pagent-partial").write_bytes(kept)
    with pytest.raises(ValueError, match=f"cannot continue 'f' at 5: {text} of it are kept"):
        await Upload.open(threads, sandbox, "f", offset=5)
    assert names(sandbox) == ([] if kept is None else ["f.pagent-partial"])
    if kept is not None:
        assert (sandbox.path / "f.pagent-partial").read_bytes() == kept


@pytest.mark.parametrize("kind", ["link", "fifo", "hard link", "folder"])
async def test_only_an_own_regular_file_is_continued(threads: Threads, sandbox: Sandbox, kind: str) -> None:
    (sandbox.path / "other").write_text("other")
    planted = sandbox.path / "f.pagent-partial"
    if kind == "link":
        planted.symlink_to("other")
    elif kind == "fifo":
        os.mkfifo(planted)
    elif kind == "hard link":
        os.link(sandbox.path / "other", planted)
    else:
        planted.mkdir()
    with pytest.raises((ValueError, OSError)):
        await Upload.open(threads, sandbox, "f", offset=1)
    assert (sandbox.path / "other").read_text() == "other"
    assert names(sandbox) == ["f.pagent-partial", "other"]


@pytest.mark.parametrize("name", ["x" * 240, "x" * 241, "x" * 255, "ä" * 127, "\U0010fe80" * 255])
async def test_a_part_of_a_long_name_is_kept(threads: Threads, sandbox: Sandbox, name: str) -> None:
    upload = await Upload.open(threads, sandbox, name, partial=True)
    await upload.write(b"part")
    await upload.abort()
    [kept] = os.listdir(sandbox.path)
    assert kept == from_wire(partial_of(name))
    async with await Upload.open(threads, sandbox, name, offset=4) as upload:
        await upload.write(b" and rest")
        await upload.commit()
    assert os.listdir(sandbox.path) == [from_wire(name)]
    assert (sandbox.path / from_wire(name)).read_text() == "part and rest"


# --- sparse files ---------------------------------------------------------------------------------


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.parametrize("sha256", [False, True])
async def test_holes_of_an_upload_take_no_blocks(threads: Threads, sandbox: Sandbox, sha256: bool) -> None:
    content = bytes(8 * MIB) + b"middle" + bytes(32 * MIB)
    digest = hashlib.sha256(content).hexdigest() if sha256 else None
    async with await Upload.open(threads, sandbox, "f", sha256=digest) as upload:
        upload.give_hole(8 * MIB)
        await upload.write(b"middle")
        upload.give_hole(32 * MIB)
        assert await upload.commit() == len(content)
    assert (sandbox.path / "f").read_bytes() == content
    assert allocated(sandbox.path / "f") < MIB


async def test_a_hole_is_part_of_what_is_kept(threads: Threads, sandbox: Sandbox) -> None:
    upload = await Upload.open(threads, sandbox, "f", partial=True)
    await upload.write(b"begin")
    upload.give_hole(MIB)
    await upload.abort()
    assert (sandbox.path / "f.pagent-partial").read_bytes() == b"begin" + bytes(MIB)


@pytest.mark.parametrize("size", [0, -1, 1 << 63])
async def test_senseless_holes(threads: Threads, sandbox: Sandbox, size: int) -> None:
    async with await Upload.open(threads, sandbox, "f") as upload:
        with pytest.raises(ValueError, match="hole"):
            upload.give_hole(size)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 300_000)), min_size=1, max_size=6), st.integers(0, 200_000))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sparse_file_there_and_back(tmp_path: Path, runs: list[tuple[bool, int]], offset: int) -> None:
    async def there_and_back() -> None:
        threads = ThreadPool("disk", 1)
        sandbox = Sandbox.create(tmp_path, secrets.token_hex(8))
        content = b""
        with (sandbox.path / "f").open("wb") as file:
            for is_hole, size in runs:
                file.seek(size, os.SEEK_CUR) if is_hole else file.write(b"x" * size)
                content += (b"\0" if is_hole else b"x") * size
            file.truncate(len(content))
        at = min(offset, len(content))
        async with await Download.open(threads, sandbox, "f", holes=True, offset=at) as download:
            upload = await Upload.open(threads, sandbox, "copy")
            async for chunk in download:
                if isinstance(chunk, int):
                    upload.give_hole(chunk)
                else:
                    await upload.write(bytes(chunk))
            await upload.commit()
        assert (sandbox.path / "copy").read_bytes() == content[at:]
        assert allocated(sandbox.path / "copy") <= allocated(sandbox.path / "f") + 2 * MIB // 16
        sandbox.remove()
        await threads.close(10)

    asyncio.run(there_and_back())


async def test_what_is_nearly_all_hole_is_not_read_as_zeros(threads: Threads, sandbox: Sandbox) -> None:
    size = (1 << 43) if sandbox.path.stat().st_dev else 0
    with (sandbox.path / "f").open("wb") as file:
        file.truncate(size)
    with pytest.raises(ValueError, match="holes"):
        await Download.open(threads, sandbox, "f")
    async with await Download.open(threads, sandbox, "f", offset=1 << 42, length=5) as download:
        assert [bytes(chunk) async for chunk in download if not isinstance(chunk, int)] == [bytes(5)]
    async with await Download.open(threads, sandbox, "f", holes=True) as download:
        assert [chunk async for chunk in download] == [size]


# --- shortage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("partial", [False, True])
async def test_a_full_disk_fails_with_the_systems_words_and_leaves_nothing(
    threads: Threads, full_disk: Sandbox, partial: bool
) -> None:
    (full_disk.path / "f").write_text("old")
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device: 'f'$"):
        await put(threads, full_disk, "f", *[BIG] * 3, partial=partial)
    assert names(full_disk) == ["f"]
    assert (full_disk.path / "f").read_text() == "old"


async def test_what_is_given_is_written_without_a_wait(threads: Threads, sandbox: Sandbox) -> None:
    moved = asyncio.Event()
    async with await Upload.open(threads, sandbox, "f") as upload:
        upload.moved = moved.set
        for _ in range(20):
            upload.give(BIG)
        assert upload.behind > 0
        while upload.behind >= DISK_BLOCK_MOST:
            await moved.wait()
            moved.clear()
        upload.give(b"the last")
        assert await upload.commit() == 20 * len(BIG) + 8
    assert (sandbox.path / "f").read_bytes() == BIG * 20 + b"the last"


async def test_a_disk_that_takes_no_more_is_told(threads: Threads, full_disk: Sandbox) -> None:
    moved = asyncio.Event()
    async with await Upload.open(threads, full_disk, "f", partial=True) as upload:
        upload.moved = moved.set
        assert upload.error is None
        for _ in range(10):
            upload.give(BIG)
        while upload.error is None:
            await moved.wait()
            moved.clear()
        upload.give(BIG)
        assert isinstance(upload.error, OSError)
        with pytest.raises(OSError, match="No space left on device: 'f'"):
            await upload.commit()
    assert names(full_disk) == []


async def test_short_writes_are_completed_and_errors_name_the_path(
    threads: Threads, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagent.files.newfile.os.writev", lambda file, parts: os.write(file, parts[0][:100_000]))
    await put(threads, sandbox, "f", BIG)
    assert (sandbox.path / "f").read_bytes() == BIG

    def full(file: int, parts: object) -> int:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr("pagent.files.newfile.os.writev", full)
    with pytest.raises(OSError, match="quota exceeded: 'g'"):
        await put(threads, sandbox, "g", b"few", partial=True)
    monkeypatch.undo()
    assert names(sandbox) == ["f"]


# --- download -------------------------------------------------------------------------------------


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


# --- both -----------------------------------------------------------------------------------------


async def test_transfers_share_one_thread(threads: Threads, sandbox: Sandbox) -> None:
    """Ten of each at once, none of which could go on if another kept the thread while it waits."""
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
