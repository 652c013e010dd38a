"""Archives over the wire, made and unpacked by GNU tar where one is installed (docs/contract.rst, "Files")."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from tests.kit.peer import ISTREAM, PATIENCE_S, CallFailed, Peer
from tests.kit.transfers import fetch, new_job, send, unfinished

needs_tar = pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar (Debian package tar)")

LONG = "/".join(["folder with a name of some length"] * 8) + "/" + "n" * 200

#: Difficult names: long, Unicode, blanks, leading dashes, line breaks, not UTF-8.
NAMES = ["plain", "-dash", "with blank", "ümlaut/ß-日本", "line\nbreak", os.fsdecode(b"no-utf8-\xff"), LONG]


async def tar(*arguments: str | Path, folder: Path, code: int = 0) -> bytes:
    """GNU tar's standard output; AssertionError with its error text unless it exits with ``code``."""
    process = await asyncio.create_subprocess_exec(
        "tar", "-C", folder, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == code, errors.decode()
    return output


def make_tree(folder: Path) -> None:
    for number, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape") * (number * 400))
        path.chmod(0o600 | number * 0o11)
        os.utime(path, (1.2e9 + number, 1.2e9 + number))
    (folder / "empty/in empty").mkdir(parents=True)
    (folder / "empty/in empty").chmod(0o2751)  # the first bit is not carried
    (folder / "empty").chmod(0o555)
    for found, _, _ in os.walk(folder, topdown=False):
        os.utime(found, (1.1e9, 1.1e9))


def tree(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return all entries below a folder: type and permissions, time in whole seconds, content."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        found[str(path.relative_to(folder))] = (status.st_mode & ~0o7000, int(status.st_mtime), data)
    return found


def pieces(data: bytes, size: int = 100_000) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    make_tree(folder)
    return folder


@needs_tar
@pytest.mark.parametrize("packing", ["", "--gzip", "--bzip2", "--xz"])
@pytest.mark.parametrize("kind", ["gnu", "posix"])
async def test_archives_of_tar_are_unpacked(agent: Agent, peer: Peer, source: Path, packing: str, kind: str) -> None:
    job, sandbox = await new_job(peer, agent)
    archive = await tar("-c", f"--format={kind}", *([packing] if packing else []), ".", folder=source)
    assert await send(peer, "archive_upload", pieces(archive), job) == len(archive)
    assert tree(sandbox) == tree(source)


@needs_tar
@pytest.mark.parametrize("compress", [False, True])
async def test_packed_archives_are_unpacked_by_tar(
    agent: Agent, peer: Peer, source: Path, tmp_path: Path, compress: bool
) -> None:
    job, sandbox = await new_job(peer, agent)
    shutil.copytree(source, sandbox, dirs_exist_ok=True)
    (source / "link").symlink_to("plain")
    shutil.copyfile(source / "link", sandbox / "link", follow_symlinks=False)
    os.utime(sandbox / "link", (5, 5), follow_symlinks=False)
    os.utime(source / "link", (5, 5), follow_symlinks=False)
    os.mkfifo(sandbox / "fifo")
    sent = await fetch(peer, "archive_download", job, None, None, compress, 65536)
    assert (sent.data[:2] == b"\x1f\x8b") is compress
    archive = tmp_path / "archive.tar"
    archive.write_bytes(sent.data)
    target = tmp_path / "target"
    target.mkdir()
    await tar("-x", "-p", "-f", archive, folder=target)
    assert tree(target) == tree(source)
    listed = await tar("--list", "--numeric-owner", "--quoting-style=escape", "-f", archive, folder=target)
    assert not any(line.startswith((b"/", b"./")) for line in listed.splitlines())


@needs_tar
@pytest.mark.parametrize("version", [None, "0.0", "0.1", "1.0"])
async def test_sparse_files_over_8_gb_from_tar(agent: Agent, peer: Peer, tmp_path: Path, version: str | None) -> None:
    """A file of 12 GiB with some KiB of data, in each of GNU tar's formats for sparse files."""
    source = tmp_path / "source"
    source.mkdir()
    with (source / "disk").open("wb") as file:
        for at in range(0, 12, 3):
            file.seek(at << 30)
            file.write(b"block %d" % at)
        file.truncate(12 << 30)
    options = ["--format=gnu"] if version is None else ["--format=posix", f"--sparse-version={version}"]
    archive = await tar("-c", "-S", *options, "disk", folder=source)
    assert len(archive) < 1 << 20
    job, sandbox = await new_job(peer, agent)
    await send(peer, "archive_upload", pieces(archive), job)
    made = (sandbox / "disk").stat()
    assert made.st_size == 12 << 30
    assert made.st_blocks * 512 < 1 << 20
    with (sandbox / "disk").open("rb") as file:
        for at in range(0, 12, 3):
            file.seek(at << 30)
            assert file.read(8) == b"block %d\0" % at


@needs_tar
async def test_the_head_of_a_file_over_8_gb(agent: Agent, peer: Peer, tmp_path: Path) -> None:
    """The size does not fit the octal field of a header: tar has to read the same one from ours."""
    job, sandbox = await new_job(peer, agent)
    with (sandbox / "disk").open("wb") as file:
        file.write(b"begins")
        file.truncate(9 << 30)
    call = await peer.start(ISTREAM, "archive_download", job)
    size = (await peer.next_of(call))[2]["size"]
    assert size == 10240  # its hole is left out, for any reader of archives: the disk has no more of it
    first = (await peer.next_of(call))[2]
    head = tmp_path / "head.tar"
    head.write_bytes(first)
    listed = await tar("-tvf", head, folder=tmp_path)
    assert f" {9 << 30} ".encode() in listed


async def test_masks(agent: Agent, peer: Peer) -> None:
    job, sandbox = await new_job(peer, agent)
    for name in ("a.txt", "a.bin", "d/b.txt", "d/e/c.txt", "d/e/secret.txt"):
        (sandbox / name).parent.mkdir(parents=True, exist_ok=True)
        (sandbox / name).write_text(name)

    async def names(*masks: str | None) -> list[str]:
        sent = await fetch(peer, "archive_download", job, *masks)
        with tarfile.open(fileobj=io.BytesIO(sent.data)) as archive:
            return sorted(archive.getnames())

    assert await names() == ["a.bin", "a.txt", "d", "d/b.txt", "d/e", "d/e/c.txt", "d/e/secret.txt"]
    assert await names("*.txt") == ["a.txt", "d/b.txt", "d/e/c.txt", "d/e/secret.txt"]
    assert await names("*.txt", "*secret*") == ["a.txt", "d/b.txt", "d/e/c.txt"]
    assert await names(None, "d*") == ["a.bin", "a.txt"]
    assert await names("d/*.txt") == ["d/b.txt", "d/e/c.txt", "d/e/secret.txt"]
    assert await names("[ab].[!b]*") == ["a.txt"]
    assert await names("nothing") == []


async def test_by_keyword(agent: Agent, peer: Peer) -> None:
    job, sandbox = await new_job(peer, agent)
    (sandbox / "f").write_bytes(b"data")
    sent = await fetch(
        peer, "archive_download", job_uid=job, include_mask="f", exclude_mask=None, compress=False, chunk_size=1000
    )
    assert {len(chunk) for chunk in sent.chunks} == {1000, sent.size % 1000}
    (sandbox / "f").unlink()
    assert await send(peer, "archive_upload", [sent.data], job_uid=job) == sent.size
    assert (sandbox / "f").read_bytes() == b"data"


async def test_an_empty_sandbox(agent: Agent, peer: Peer) -> None:
    job, _ = await new_job(peer, agent)
    sent = await fetch(peer, "archive_download", job)
    assert await send(peer, "archive_upload", [sent.data], job) == sent.size


async def test_the_folder_itself(agent: Agent, peer: Peer) -> None:
    """The entry ``/`` of Python's tarfile, ``./`` of GNU tar: its mode and time do not become the sandbox's."""
    job, sandbox = await new_job(peer, agent)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("", "./"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(entry)
    await send(peer, "archive_upload", [buffer.getvalue()], job)
    assert stat.S_IMODE(sandbox.stat().st_mode) == 0o700


async def test_any_split(agent: Agent, peer: Peer, source: Path) -> None:
    job, sandbox = await new_job(peer, agent)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(source, "")
    data = buffer.getvalue()
    assert await send(peer, "archive_upload", pieces(data, 61), job) == len(data)
    assert tree(sandbox) == tree(source)


async def test_a_truncated_archive(agent: Agent, peer: Peer) -> None:
    job, sandbox = await new_job(peer, agent)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("whole", "cut"):
            entry = tarfile.TarInfo(name)
            entry.size = 1000
            archive.addfile(entry, io.BytesIO(bytes(1000)))
    with pytest.raises(CallFailed, match="ValueError: the archive is truncated"):
        await send(peer, "archive_upload", [buffer.getvalue()[:2500]], job)
    assert os.listdir(sandbox) == ["whole"]
    assert unfinished(sandbox) == {}


@pytest.mark.parametrize("method", ["archive_upload", "archive_download"])
async def test_unknown_jobs(peer: Peer, method: str) -> None:
    with pytest.raises(CallFailed, match="JobNotFoundError"):
        await (send(peer, method, [], "nobody") if method == "archive_upload" else fetch(peer, method, "nobody"))
