from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pagent.client import RemoteJob
from pagent.errors import CallCancelledError, MethodError
from pagent.limits import STREAM_WINDOW
from tests.kit.peer import PATIENCE_S
from tests.kit.transfers import eventually, unfinished

#: Several stream windows, and not a multiple of a chunk.
SOME = os.urandom(5 * STREAM_WINDOW + 12_345)
DIGEST = hashlib.sha256(SOME).hexdigest()


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    folder.mkdir()
    (folder / "some").write_bytes(SOME)
    return folder


async def interrupted(job: RemoteJob, target: Path, content: bytes) -> None:
    """Leave a temporary file with ``content``, as an interrupted download to ``target`` does."""
    await job.write("earlier", content)

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await job.download("earlier", target, resume=True, progress=stop)
    await job.remove_file("earlier")


class Steps:
    """A progress callback that records its arguments."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.steps.append((done, total))

    def check(self, start: int, total: int) -> None:
        counts = [start, *(done for done, _ in self.steps)]
        assert counts == sorted(set(counts))
        assert counts[-1] == total
        assert {count for _, count in self.steps} == {total}


async def test_upload_and_download(job: RemoteJob, sandbox: Path, local: Path) -> None:
    up, down = Steps(), Steps()
    assert await job.upload(local / "some", "a/b", executable=True, progress=up) == len(SOME)
    assert os.access(sandbox / "a/b", os.X_OK)
    assert await job.download("a/b", local / "back", remove=True, progress=down) == len(SOME)
    assert (local / "back").read_bytes() == SOME
    assert not (sandbox / "a/b").exists()
    assert sorted(os.listdir(local)) == ["back", "some"]
    up.check(0, len(SOME))
    down.check(0, len(SOME))


async def test_a_file_is_removed_after_its_target_is_complete(job: RemoteJob, sandbox: Path, local: Path) -> None:
    await job.write("f", b"the only copy")

    def lose(done: int, total: int) -> None:
        shutil.rmtree(local)

    with pytest.raises(FileNotFoundError):
        await job.download("f", local / "g", remove=True, progress=lose)
    with pytest.raises(OSError, match="No space left"):
        await job.download("f", "/dev/full", remove=True)
    assert (sandbox / "f").read_bytes() == b"the only copy"


async def test_lone_surrogates_are_refused_wherever_they_are(job: RemoteJob) -> None:
    odd, invalid = "a\udcff", "a\ud800"
    for call in (
        job.read(odd), job.list(after=odd, limit=1), job.start([invalid]), job.start(["true"], {odd: ""}),
        job.start(["true"], {"A": invalid}), job.start(["true"], cwd=invalid),
        job.http("GET", "/", headers=[("x", odd)]), job.exec([invalid]).__aenter__(),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="not valid Unicode"):
            await call


async def test_memory(job: RemoteJob) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield SOME[:5]
        yield b""
        yield SOME[5:]

    assert await job.write("f", SOME, sha256=DIGEST) == len(SOME)
    assert await job.read("f") == SOME
    assert await job.write("g", parts(), sha256=DIGEST) == len(SOME)
    assert await job.read("g", offset=10, length=20) == SOME[10:30]
    assert await job.read("g", length=0) == b""
    assert [len(chunk) async for chunk in job.read_chunks("g", chunk_size=100_000, offset=len(SOME) - 200_001)] == [
        100_000, 100_000, 1,
    ]  # fmt: skip
    assert [chunk async for chunk in job.read_chunks("g", remove=True)]
    with pytest.raises(MethodError) as failed:
        await job.read("g")
    assert failed.value.cause_type == "FileNotFoundError"


async def test_entries(job: RemoteJob) -> None:
    await job.write("d/f", b"data")
    assert (await job.stat("d/f", sha256=True))["sha256"] == hashlib.sha256(b"data").hexdigest()
    assert [found["path"] for found in await job.list()] == ["d"]
    assert [found["path"] for found in await job.list("d")] == ["d/f"]
    assert [found["path"] for found in await job.list(recursive=True)] == ["d", "d/f"]
    assert (await job.remove_file("d/f"))["size"] == 4
    assert await job.list("d") == []


async def test_a_refused_upload_ends(job: RemoteJob, local: Path) -> None:
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(MethodError, match="must be relative"):
            await job.upload(local / "some", "/absolute")
        with pytest.raises(MethodError, match="must be relative"):
            await job.write("/absolute", SOME)


async def test_a_download_that_fails_leaves_no_local_file(job: RemoteJob, local: Path) -> None:
    (local / "old").write_bytes(b"old")
    with pytest.raises(MethodError):
        await job.download("missing", local / "old")
    assert sorted(os.listdir(local)) == ["old", "some"]
    assert (local / "old").read_bytes() == b"old"


async def test_a_local_file_that_cannot_be_written(job: RemoteJob, local: Path) -> None:
    await job.write("f", SOME)
    with pytest.raises(FileNotFoundError):
        await job.download("f", local / "no/such/folder")
    with pytest.raises(FileNotFoundError):
        await job.upload(local / "missing", "f")
    assert await job.read("f") == SOME


class TestResume:
    async def test_an_upload(self, job: RemoteJob, sandbox: Path, local: Path) -> None:
        async def part() -> AsyncIterator[bytes]:
            yield SOME[:STREAM_WINDOW]
            yield SOME[STREAM_WINDOW : 4 * STREAM_WINDOW]
            await eventually(lambda: sum(unfinished(sandbox).values()) >= 4 * STREAM_WINDOW)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            await job.write("f", part(), partial=True)
        kept = (await job.stat("f.pagent-partial"))["size"]
        assert kept >= 4 * STREAM_WINDOW
        progress = Steps()
        assert await job.upload(local / "some", "f", resume=True, progress=progress) == len(SOME) - kept
        progress.check(kept, len(SOME))
        assert (await job.stat("f", sha256=True))["sha256"] == DIGEST
        assert unfinished(sandbox) == {}

    async def test_an_upload_from_nothing(self, job: RemoteJob, local: Path) -> None:
        assert await job.upload(local / "some", "f", resume=True) == len(SOME)
        assert await job.read("f") == SOME

    async def test_with_explicit_options(self, job: RemoteJob, sandbox: Path, local: Path) -> None:
        (sandbox / "f.pagent-partial").write_bytes(SOME[:1000])
        assert await job.upload(local / "some", "f", offset=900, sha256=DIGEST) == len(SOME) - 900
        assert await job.read("f") == SOME

    async def test_a_part_of_another_file_is_not_continued(self, job: RemoteJob, sandbox: Path, local: Path) -> None:
        (sandbox / "f.pagent-partial").write_bytes(b"something else")
        assert await job.upload(local / "some", "f", resume=True) == len(SOME)
        assert await job.read("f") == SOME
        assert unfinished(sandbox) == {}

    async def test_a_part_that_is_longer_than_the_file(self, job: RemoteJob, sandbox: Path, local: Path) -> None:
        (sandbox / "f.pagent-partial").write_bytes(SOME + b"more")
        assert await job.upload(local / "some", "f", resume=True) == len(SOME)

    async def test_a_download(self, job: RemoteJob, sandbox: Path, local: Path) -> None:
        await job.write("f", SOME)

        def stop(done: int, total: int) -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            await job.download("f", local / "g", resume=True, progress=stop)
        [kept] = [name for name in os.listdir(local) if name.startswith(".pagent-part-") and name.endswith("-g")]
        have = (local / kept).stat().st_size
        assert 0 < have < len(SOME)
        progress = Steps()
        assert await job.download("f", local / "g", resume=True, remove=True, progress=progress) == len(SOME) - have
        progress.check(have, len(SOME))
        assert (local / "g").read_bytes() == SOME
        assert sorted(os.listdir(local)) == ["g", "some"]
        assert os.listdir(sandbox) == []

    async def test_a_download_of_a_changed_file(self, job: RemoteJob, local: Path) -> None:
        await job.write("f", SOME)
        await interrupted(job, local / "g", b"something else")
        with pytest.raises(MethodError, match="'f' has changed"):
            await job.download("f", local / "g", resume=True)
        assert sorted(os.listdir(local)) == ["some"]

    async def test_a_download_of_a_file_that_is_shorter_now(self, job: RemoteJob, local: Path) -> None:
        await job.write("f", b"short")
        await interrupted(job, local / "g", b"something longer")
        assert await job.download("f", local / "g", resume=True) == 5
        assert (local / "g").read_bytes() == b"short"

    async def test_without_resume_nothing_is_kept(self, job: RemoteJob, local: Path) -> None:
        await job.write("f", SOME)

        def stop(done: int, total: int) -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            await job.download("f", local / "g", progress=stop)
        assert sorted(os.listdir(local)) == ["some"]

    async def test_a_part_cannot_be_resumed(self, job: RemoteJob, local: Path) -> None:
        with pytest.raises(ValueError, match="resume cannot be combined with offset and length"):
            await job.download("f", local / "g", resume=True, offset=1)

    async def test_resume_excludes_the_other_options(self, job: RemoteJob, local: Path) -> None:
        for option in ({"offset": 1}, {"sha256": "0" * 64}, {"partial": True}):
            with pytest.raises(ValueError, match="resume cannot be combined with offset, sha256 and partial"):
                await job.upload(local / "some", "f", resume=True, **option)


class TestFolders:
    @pytest.fixture
    def folder(self, local: Path) -> Path:
        (local / "d/empty").mkdir(parents=True)
        (local / "d/f").write_text("f")
        (local / "d/f").chmod(0o750)
        (local / "link").symlink_to("some")
        return local

    @pytest.mark.parametrize("compress", [False, True])
    async def test_upload_and_download(self, job: RemoteJob, folder: Path, tmp_path: Path, compress: bool) -> None:
        up, down = Steps(), Steps()
        size = await job.upload_folder(folder, compress=compress, progress=up)
        up.check(0, size)
        assert [found["path"] for found in await job.list(recursive=True)] == ["d", "d/empty", "d/f", "link", "some"]
        size = await job.download_folder(tmp_path / "new/folder", compress=compress, progress=down)
        down.check(0, size)
        back = tmp_path / "new/folder"
        assert (back / "some").read_bytes() == SOME
        assert (back / "d/f").stat().st_mode & 0o777 == 0o750
        assert (back / "d/empty").is_dir()

    async def test_masks(self, job: RemoteJob, folder: Path, tmp_path: Path) -> None:
        await job.upload_folder(folder, exclude_mask="some")
        await job.write("g", b"")
        await job.download_folder(tmp_path / "back", include_mask="d*", exclude_mask="*empty")
        found = sorted(str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("*"))
        assert found == ["d", "d/f"]

    @pytest.mark.parametrize("compress", [False, True])
    async def test_an_archive(self, job: RemoteJob, folder: Path, tmp_path: Path, compress: bool) -> None:
        await job.upload_folder(folder)
        size = await job.download_archive(tmp_path / "all.tar", exclude_mask="some", compress=compress)
        assert (tmp_path / "all.tar").stat().st_size == size
        for path in ("d/f", "d/empty", "d", "link", "some"):
            await job.remove_file(path)
        assert await job.upload_archive(tmp_path / "all.tar") == size
        assert [found["path"] for found in await job.list(recursive=True)] == ["d", "d/empty", "d/f", "link"]

    async def test_a_folder_that_does_not_exist(self, job: RemoteJob, folder: Path) -> None:
        with pytest.raises(NotADirectoryError):
            await job.upload_folder(folder / "some")
        with pytest.raises(FileExistsError):
            await job.download_folder(folder / "some")
        with pytest.raises(MethodError, match="not a tar"):
            await job.upload_archive(folder / "d/f")

    async def test_cancelled_in_the_middle(self, job: RemoteJob, folder: Path, tmp_path: Path) -> None:
        await job.upload_folder(folder)

        def stop(done: int, total: int) -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            await job.download_folder(tmp_path / "back", progress=stop)
        assert unfinished(tmp_path / "back") == {}


async def test_cancelled(job: RemoteJob, sandbox: Path) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield SOME
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(job.write("f", endless()))
    await started.wait()
    task.cancel()
    with pytest.raises((asyncio.CancelledError, CallCancelledError)):
        await task
    await job.write("g", b"")
    assert os.listdir(sandbox) == ["g"]
