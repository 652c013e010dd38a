"""Downloads to local files: replaced files, special files, resumed downloads, and files that cannot be replaced."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pagent.client import RemoteJob
from pagent.client.partial_file import PartialFile
from tests.kit.remotes import slow_with_a_router

SOME = os.urandom(700_000)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    folder.mkdir()
    return folder


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("resume", [False, True])
async def test_a_file_that_is_replaced_keeps_its_mode(job: RemoteJob, local: Path, resume: bool) -> None:
    await job.write("f", SOME)
    (local / "f").write_text("old")
    (local / "f").chmod(0o600)
    await job.download("f", local / "f", resume=resume)
    assert (local / "f").read_bytes() == SOME
    assert mode_of(local / "f") == 0o600


async def test_a_temporary_file_has_the_mode_of_the_target_from_the_start(local: Path) -> None:
    (local / "f").touch(0o600)
    async with PartialFile(local / "f", resume=False) as part:
        await part.write(b"secret")
        [unfinished] = [name for name in os.listdir(local) if name.startswith(".pagent-part-")]
        assert mode_of(local / unfinished) == 0o600
    assert os.listdir(local) == ["f"]


async def test_a_link_is_followed(job: RemoteJob, local: Path) -> None:
    await job.write("f", SOME)
    (local / "d").mkdir()
    (local / "d/f").write_text("old")
    (local / "link").symlink_to("d/f")
    (local / "dangling").symlink_to("d/new")
    for name in ("link", "dangling"):
        await job.download("f", local / name)
        assert (local / name).is_symlink()
        assert (local / name).read_bytes() == SOME
    assert sorted(os.listdir(local / "d")) == ["f", "new"]


async def test_a_device_is_written_into(job: RemoteJob, local: Path) -> None:
    await job.write("f", SOME)
    try:
        os.mknod(local / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.close(os.open(local / "null", os.O_WRONLY))
    except OSError:
        pytest.skip("no device can be made here")
    assert await job.download("f", local / "null") == len(SOME)
    assert stat.S_ISCHR((local / "null").stat().st_mode)
    assert os.listdir(local) == ["null"]
    with pytest.raises(ValueError, match="cannot be resumed"):
        await job.download("f", local / "null", resume=True)


async def test_a_fifo_is_written_into(job: RemoteJob, local: Path) -> None:
    await job.write("f", SOME)
    os.mkfifo(local / "fifo")
    with pytest.raises(OSError, match="No such device or address"):  # it has no reader
        await job.download("f", local / "fifo")
    cat = await asyncio.create_subprocess_exec("cat", local / "fifo", stdout=asyncio.subprocess.PIPE)
    reading = asyncio.ensure_future(cat.communicate())
    async with asyncio.timeout(30):
        while True:
            try:
                count = await job.download("f", local / "fifo")
            except OSError:  # cat has not opened it yet
                await asyncio.sleep(0.01)
            else:
                break
        read, _ = await reading
    assert (count, read) == (len(SOME), SOME)
    assert stat.S_ISFIFO((local / "fifo").stat().st_mode)


async def test_a_folder_is_refused(job: RemoteJob, local: Path) -> None:
    await job.write("f", SOME)
    with pytest.raises(IsADirectoryError):
        await job.download("f", local)
    with pytest.raises(NotADirectoryError):  # it names a folder that does not exist
        await job.download("f", f"{local}/new/")
    assert os.listdir(local) == []


@pytest.mark.parametrize("name", ["x" * 251, "x" * 255, "ä" * 127])
@pytest.mark.parametrize("resume", [False, True])
async def test_long_names(job: RemoteJob, local: Path, name: str, resume: bool) -> None:
    await job.write("f", SOME)
    await job.download("f", local / name, resume=resume)
    assert (local / name).read_bytes() == SOME
    assert await job.upload(local / name, name, resume=True) == len(SOME)
    assert await job.read(name) == SOME


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_file_of_the_user_beside_the_target_is_left_alone(
    job: RemoteJob, local: Path, resume: bool, fails: bool
) -> None:
    await job.write("f", SOME)
    (local / "g.part").write_text("the user's own")

    def step(done: int, total: int) -> None:
        if fails:
            raise InterruptedError

    try:
        await job.download("f", local / "g", resume=resume, progress=step)
    except InterruptedError:
        assert fails
    assert (local / "g.part").read_text() == "the user's own"
    assert (local / "g").exists() is not fails


@pytest.mark.parametrize("resume", [False, True])
async def test_two_downloads_to_one_name_do_not_clash(job: RemoteJob, local: Path, resume: bool) -> None:
    await job.write("a", SOME)
    await job.write("b", SOME[::-1])
    await asyncio.gather(*(job.download(path, local / "f", resume=resume) for path in "abab"))
    assert (local / "f").read_bytes() in (SOME, SOME[::-1])
    assert os.listdir(local) == ["f"]


async def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(local: Path) -> None:
    async with PartialFile(local / "f", resume=True) as part:
        [name] = os.listdir(local)
        await part.start_over()
    (local / "victim").write_text("as it was")
    (local / name).symlink_to("victim")
    async with PartialFile(local / "f", resume=True) as part:
        assert part.have == 0
        await part.write(b"new")
        await part.commit()
    assert (local / "victim").read_text() == "as it was"
    assert (local / "f").read_text() == "new"


#: In a mount namespace of its own: makes files that can be written and not replaced, and downloads to them.
MOUNTED = """
import asyncio, os, subprocess, sys
from pagent.client.partial_file import PartialFile

def mount(*words):
    subprocess.run(["mount", *words], check=True)

async def download(path, resume, commit=True):
    async with PartialFile(path, resume=resume) as part:
        if part.have:
            await part.start_over()
        await part.write(b"new")
        await part.skip(3)
        if commit:
            await part.commit()

async def main():
    os.chdir(sys.argv[1])
    mount("--bind", "source", "folder/mounted")
    if sys.argv[2] == "read-only folder":
        mount("--bind", "folder", "folder")
        mount("--bind", "source", "folder/mounted")
        mount("-o", "remount,bind,ro", "folder")
    for resume in (False, True):
        await download("folder/mounted", resume, commit=False)
        assert open("folder/mounted").read() == "old content"
    for resume in (False, True):
        await download("folder/mounted", resume)
    assert oct(os.stat("folder/mounted").st_mode & 0o777) == "0o640"

asyncio.run(main())
"""


def has_mount_namespaces() -> bool:
    command = ["unshare", "--mount", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_mount_namespaces(), reason="needs to mount a file in a namespace of its own")
@pytest.mark.parametrize("kind", ["folder", "read-only folder"])
def test_a_mounted_file_is_written_in_place(local: Path, kind: str) -> None:
    (local / "folder").mkdir()
    (local / "folder/mounted").touch()
    (local / "temporary").mkdir()
    (local / "source").write_text("old content")
    (local / "source").chmod(0o640)
    subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", MOUNTED, local, kind],
        check=True,
        timeout=60,
        env=os.environ | {"TMPDIR": str(local / "temporary")},
    )
    assert (local / "source").read_bytes() == b"new" + bytes(3)
    assert os.listdir(local / "temporary") == []
    assert os.listdir(local / "folder") == ["mounted"]


async def test_a_failed_copy_into_the_target_is_an_error(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "replace", busy)
    (local / "f").write_text("old")
    async with PartialFile(local / "f", resume=False) as part:
        await part.write(b"new")
        (local / "f").unlink()
        with pytest.raises(FileNotFoundError):
            await part.commit()
    with pytest.raises(OSError, match="busy"):
        async with PartialFile(local / "missing", resume=False) as part:
            await part.commit()
    assert os.listdir(local) == []


@slow_with_a_router
async def test_sparse_files_stay_sparse(job: RemoteJob, sandbox: Path, local: Path) -> None:
    with (local / "f").open("wb") as file:
        file.seek(200 << 20)
        file.write(b"data")
        file.truncate(400 << 20)
    assert await job.upload(local / "f", "f") == 400 << 20
    assert await job.upload(local / "f", "resumed", resume=True) == 400 << 20
    assert await job.download("f", local / "back") == 400 << 20
    assert await job.download("f", local / "resumed", resume=True) == 400 << 20
    await job.download_folder(local / "folder")
    await job.upload_folder(local / "folder")
    for path in (sandbox / "f", sandbox / "resumed", local / "back", local / "resumed", local / "folder/f"):
        status = path.stat()
        assert status.st_size == 400 << 20
        assert status.st_blocks * 512 < 1 << 20, path
        with path.open("rb") as file:
            file.seek(200 << 20)
            assert file.read(8) == b"data" + bytes(4)
    assert await job.read("f", offset=(200 << 20) - 70_000, length=70_004) == bytes(70_000) + b"data"


async def test_links_and_skipped_entries(job: RemoteJob, sandbox: Path, local: Path) -> None:
    (sandbox / ".pagent.stdout").write_text("log")
    (sandbox / "d").mkdir()
    (sandbox / "link").symlink_to("d")
    (sandbox / "absolute").symlink_to("/etc/passwd")
    os.mkfifo(sandbox / "fifo")
    os.utime(sandbox / "d", ns=(1, 1_700_000_000_123_456_789))
    size = await job.download_folder(local)
    assert (size.skipped, len(size.names)) == (2, 2)
    assert sorted(os.listdir(local)) == [".pagent.stdout", "d", "link"]
    assert os.readlink(local / "link") == "d"
    assert (local / "d").stat().st_mtime_ns == 1_700_000_000_123_456_789
    (local / ".pagent.stdout").write_text("replaced")
    size = await job.upload_folder(local)
    assert size.skipped == 1
    assert (sandbox / ".pagent.stdout").read_text() == "log"
    size = await job.download_archive(local / "tar")
    assert (size, size.skipped) == ((local / "tar").stat().st_size, 1)


async def test_names_that_are_not_utf8(job: RemoteJob, sandbox: Path, local: Path) -> None:
    odd = os.fsdecode(b"a\xffb\xc3\xa4")
    (sandbox / odd).write_bytes(SOME)
    [entry] = await job.list()
    name = entry["path"]
    assert (await job.stat(name))["size"] == len(SOME)
    assert await job.read(name) == SOME
    await job.write(name, b"new")
    assert os.listdir(sandbox) == [odd]
    await job.download_folder(local, include_mask=f"{name[:2]}*")
    assert os.listdir(local) == [odd]
    await job.remove_file(name)
    assert os.listdir(sandbox) == []
    for call in (job.stat(odd), job.write(odd, b""), job.read(odd), job.list(odd), job.upload(local / odd, odd)):
        with pytest.raises(ValueError, match="not valid Unicode"):
            await call
    await job.upload_folder(local)
    assert os.listdir(sandbox) == [odd]


@pytest.mark.slow
async def test_a_listing_of_60000_files(job: RemoteJob, sandbox: Path) -> None:
    (sandbox / "d").mkdir()
    for number in range(60_000):
        os.close(os.open(sandbox / f"d/{number:05}", os.O_CREAT | os.O_WRONLY))
    found = await job.list("d")
    assert [entry["path"] for entry in found] == [f"d/{number:05}" for number in range(60_000)]
    assert len(await job.list("d", limit=10)) == 10
    assert [entry["path"] for entry in await job.list(recursive=True, after="d/59998", limit=10)] == ["d/59999"]
