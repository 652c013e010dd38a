from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagent.files.download import Download
from pagent.files.upload import DISK_BLOCK_MOST, Upload
from pagent.jobs.sandbox import Sandbox
from pagent.names import from_wire, partial_of
from pagent.runtime.threads import ThreadPool, Threads
from tests.files.transfers import BIG, MIB, names, put


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


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
        assert stat.S_IMODE(unfinished.stat().st_mode) & ~mode == 0  # other users cannot read it meanwhile
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
async def test_the_agents_own_files_are_not_overwritten(threads: Threads, sandbox: Sandbox, path: str) -> None:
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


async def test_folders_and_special_files_are_refused_at_once(threads: Threads, sandbox: Sandbox) -> None:
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
async def test_an_upload_continues_a_kept_part(threads: Threads, sandbox: Sandbox, offset: int) -> None:
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
        upload.put_hole(8 * MIB)
        await upload.write(b"middle")
        upload.put_hole(32 * MIB)
        assert await upload.commit() == len(content)
    assert (sandbox.path / "f").read_bytes() == content
    assert allocated(sandbox.path / "f") < MIB


async def test_a_hole_is_part_of_what_is_kept(threads: Threads, sandbox: Sandbox) -> None:
    upload = await Upload.open(threads, sandbox, "f", partial=True)
    await upload.write(b"begin")
    upload.put_hole(MIB)
    await upload.abort()
    assert (sandbox.path / "f.pagent-partial").read_bytes() == b"begin" + bytes(MIB)


@pytest.mark.parametrize("size", [0, -1, 1 << 63])
async def test_invalid_holes(threads: Threads, sandbox: Sandbox, size: int) -> None:
    async with await Upload.open(threads, sandbox, "f") as upload:
        with pytest.raises(ValueError, match="hole"):
            upload.put_hole(size)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 300_000)), min_size=1, max_size=6), st.integers(0, 200_000))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sparse_file_survives_a_round_trip(tmp_path: Path, runs: list[tuple[bool, int]], offset: int) -> None:
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
                    upload.put_hole(chunk)
                else:
                    await upload.write(bytes(chunk))
            await upload.commit()
        assert (sandbox.path / "copy").read_bytes() == content[at:]
        assert allocated(sandbox.path / "copy") <= allocated(sandbox.path / "f") + 2 * MIB // 16
        sandbox.remove()
        await threads.close(10)

    asyncio.run(there_and_back())


async def test_a_file_of_huge_holes_is_not_read_as_zeros(threads: Threads, sandbox: Sandbox) -> None:
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
async def test_a_full_disk_raises_the_systems_error_and_leaves_nothing(
    threads: Threads, full_disk: Sandbox, partial: bool
) -> None:
    (full_disk.path / "f").write_text("old")
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device: 'f'$"):
        await put(threads, full_disk, "f", *[BIG] * 3, partial=partial)
    assert names(full_disk) == ["f"]
    assert (full_disk.path / "f").read_text() == "old"


async def test_put_starts_writing_without_a_wait(threads: Threads, sandbox: Sandbox) -> None:
    progress = asyncio.Event()
    async with await Upload.open(threads, sandbox, "f") as upload:
        upload.on_progress = progress.set
        for _ in range(20):
            upload.put(BIG)
        assert upload.pending > 0
        while upload.pending >= DISK_BLOCK_MOST:
            await progress.wait()
            progress.clear()
        upload.put(b"the last")
        assert await upload.commit() == 20 * len(BIG) + 8
    assert (sandbox.path / "f").read_bytes() == BIG * 20 + b"the last"


async def test_the_error_of_a_full_disk_is_reported(threads: Threads, full_disk: Sandbox) -> None:
    progress = asyncio.Event()
    async with await Upload.open(threads, full_disk, "f", partial=True) as upload:
        upload.on_progress = progress.set
        assert upload.error is None
        for _ in range(10):
            upload.put(BIG)
        while upload.error is None:
            await progress.wait()
            progress.clear()
        upload.put(BIG)
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
