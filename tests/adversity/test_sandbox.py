"""The promises of "Sandbox": no path of a peer leaves its job's folder, whatever the job does there meanwhile."""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import socket
import stat
import sys
import tarfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from tests.kit.peer import BISTREAM, ISTREAM, OSTREAM, PATIENCE_S, CallFailed, Peer
from tests.kit.transfers import Sent, download, new_job, send, upload

SECRET = b"not of any sandbox"

Way = Callable[[Peer, str, str], Awaitable[Any]]


async def stat_of(peer: Peer, job: str, path: str) -> Any:
    return await peer.call("file_stat", job, path)


async def list_of(peer: Peer, job: str, path: str) -> Any:
    return await peer.call("file_list", job, path)


async def remove(peer: Peer, job: str, path: str) -> Any:
    return await peer.call("file_remove", job, path)


async def start_in(peer: Peer, job: str, path: str) -> Any:
    return await peer.call("job_start", job, ["true"], None, path, 0)


async def archive(peer: Peer, job: str, path: str) -> Any:
    return await send(peer, "archive_upload", [tar_of(path)], job)


def tar_of(*names: str, mode: int = 0o644, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.type, entry.linkname = mode, kind, link
            entry.size = 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(b"data"))
    return buffer.getvalue()


FILE_WAYS: list[Way] = [upload, download, stat_of, remove, archive]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the sandboxes, which no path of a peer may reach."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(SECRET)
    return folder


def untouched(outside: Path) -> bool:
    return os.listdir(outside) == ["secret"] and (outside / "secret").read_bytes() == SECRET


# --- paths that lead away -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", [*FILE_WAYS, list_of, start_in])
async def test_a_path_that_names_the_outside(peer: Peer, agent: Agent, outside: Path, way: Way) -> None:
    job, sandbox = await new_job(peer, agent)
    up = os.path.relpath(outside / "secret", sandbox)  # noqa: ASYNC240 - lexical
    for path in (str(outside / "secret"), up, f"./{up}", f"a/../{up}", f"//{outside}/secret"):
        with pytest.raises(CallFailed) as caught:
            await way(peer, job, path)
        assert caught.value.cause == "ValueError", path
    assert untouched(outside)


@pytest.mark.parametrize("way", [*FILE_WAYS, list_of, start_in])
async def test_a_link_that_leads_outside(peer: Peer, agent: Agent, outside: Path, way: Way) -> None:
    job, sandbox = await new_job(peer, agent)
    (sandbox / "absolute").symlink_to(outside)
    (sandbox / "relative").symlink_to(os.path.relpath(outside, sandbox))  # noqa: ASYNC240 - lexical
    (sandbox / "magic").symlink_to("/proc/self/root" + str(outside))
    for link in ("absolute", "relative", "magic"):
        path = link if way in (list_of, start_in) else f"{link}/secret"
        with pytest.raises(CallFailed) as caught:
            await way(peer, job, path)
        assert caught.value.cause == "ValueError", path
    assert untouched(outside)


@pytest.mark.parametrize("way", [upload, archive, remove])
async def test_a_link_in_place_of_the_file_is_replaced_not_followed(
    peer: Peer, agent: Agent, outside: Path, way: Way
) -> None:
    job, sandbox = await new_job(peer, agent)
    (sandbox / "file").symlink_to(outside / "secret")
    await way(peer, job, "file")
    assert not (sandbox / "file").is_symlink()
    assert untouched(outside)


@pytest.mark.parametrize("name", [".pagent.stdout", ".pagent.stderr"])
async def test_output_files_do_not_follow_links(peer: Peer, agent: Agent, outside: Path, name: str) -> None:
    job, sandbox = await new_job(peer, agent)
    (sandbox / name).symlink_to(outside / "secret")
    with pytest.raises(CallFailed, match="ValueError: not a regular file"):
        await peer.call("job_start", job, ["sh", "-c", "echo x; echo x >&2"], None, None, 0)
    assert untouched(outside)
    os.unlink(sandbox / name)
    os.link(outside / "secret", sandbox / name)
    await peer.call("job_start", job, ["sh", "-c", "echo x; echo x >&2"], None, None, 0)
    await peer.call("job_wait", job)
    assert untouched(outside)


async def test_archives_make_no_outside_links_and_no_devices(peer: Peer, agent: Agent, outside: Path) -> None:
    job, sandbox = await new_job(peer, agent)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE):
        await send(peer, "archive_upload", [tar_of("entry", kind=kind, link=str(outside / "secret"))], job)
        assert os.listdir(sandbox) == []
    assert untouched(outside)


async def test_an_archive_does_not_follow_links(peer: Peer, agent: Agent, outside: Path) -> None:
    job, sandbox = await new_job(peer, agent)
    (sandbox / "link").symlink_to(outside)
    (sandbox / "file").write_text("of the job")
    values, _ = await peer.outcome(await peer.start(ISTREAM, "archive_download", job))
    data = b"".join(values[1:])
    assert SECRET not in data
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert "file" in tar.getnames()


# --- links that flip while we look ------------------------------------------------------------------


#: Replaces `place` by a folder and by a link to the outside in turn, as fast as it can, each time by one rename.
FLIP = """
import ctypes, os, sys
os.mkdir("place"); os.mkdir("place/secret.d"); open("place/secret", "w").write("of the job")
os.symlink(sys.argv[1], "other")
rename = ctypes.CDLL(None).renameat2
print("flipping", flush=True)
while True:
    rename(-100, b"place", -100, b"other", 2)
"""


async def test_links_that_change_meanwhile(peer: Peer, agent: Agent, outside: Path) -> None:
    job, _ = await new_job(peer, agent)
    await peer.call("job_start", job, [sys.executable, "-c", FLIP, str(outside)], None, None, 0)
    logs = await peer.start(ISTREAM, "job_logs", job, follow=True)
    assert (await peer.next_of(logs))[2].startswith(b"flipping")
    await peer.cancel(logs)
    done = {"good": 0, "refused": 0}
    causes = set()
    give_up = time.monotonic() + PATIENCE_S
    # On a busy machine each may run for long.
    for turn in itertools.takewhile(lambda n: n < 400 or min(done.values()) == 0, itertools.count()):
        assert time.monotonic() < give_up, (done, causes)
        way = (upload, download, stat_of, archive)[turn % 4]
        try:
            answer = await way(peer, job, "place/secret")
        except CallFailed as error:
            causes.add(error.cause)
            done["refused"] += 1
        else:
            if isinstance(answer, Sent):
                assert SECRET not in answer.data
            elif isinstance(answer, dict):
                assert answer["size"] != len(SECRET)
            done["good"] += 1
    await peer.call("job_remove", job)
    assert untouched(outside)
    assert causes <= {"ValueError", "FileNotFoundError", "NotADirectoryError"}


async def test_a_folder_that_becomes_a_link_under_its_removal(peer: Peer, agent: Agent, outside: Path) -> None:
    for _ in range(3):
        job, _ = await new_job(peer, agent)
        await peer.call("job_start", job, [sys.executable, "-c", FLIP, str(outside)], None, None, 0)
        await peer.call("job_remove", job)
    assert untouched(outside)


# --- special files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "folder"])
async def test_fifos_and_folders_are_not_read(peer: Peer, agent: Agent, kind: str) -> None:
    job, sandbox = await new_job(peer, agent)
    path = sandbox / "x"
    listening = socket.socket(socket.AF_UNIX)
    try:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            here = os.open(sandbox, os.O_RDONLY)
            listening.bind(f"/proc/self/fd/{here}/x")  # a socket's path has 108 bytes at most
            os.close(here)
        elif kind == "device":
            if os.geteuid() != 0:
                pytest.skip("needs root, to make a device")
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero: it never ends
        else:
            path.mkdir()
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(CallFailed) as caught:
                await download(peer, job, "x")
        assert caught.value.cause == ("IsADirectoryError" if kind == "folder" else "ValueError")
        values, _ = await peer.outcome(await peer.start(ISTREAM, "archive_download", job))
        with tarfile.open(fileobj=io.BytesIO(b"".join(values[1:]))) as tar:
            assert tar.getnames() == (["x"] if kind == "folder" else [])
    finally:
        listening.close()


@pytest.mark.parametrize("name", [".pagent.stdout", ".pagent.stderr"])
async def test_output_is_not_written_to_a_fifo(peer: Peer, agent: Agent, name: str) -> None:
    job, sandbox = await new_job(peer, agent)
    os.mkfifo(sandbox / name)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(CallFailed, match="ValueError: not a regular file"):
            await peer.call("job_start", job, ["true"], None, None, 0)


async def test_modes_are_never_setuid(peer: Peer, agent: Agent) -> None:
    job, sandbox = await new_job(peer, agent)
    await send(peer, "archive_upload", [tar_of("file", mode=0o7755)], job)
    await send(peer, "archive_upload", [tar_of("folder", mode=0o7755, kind=tarfile.DIRTYPE)], job)
    assert stat.S_IMODE((sandbox / "file").stat().st_mode) == 0o755
    assert stat.S_IMODE((sandbox / "folder").stat().st_mode) == 0o755
    (sandbox / "set").write_text("x")
    (sandbox / "set").chmod(0o4755)
    await upload(peer, job, "set", b"new", executable=True)
    assert stat.S_IMODE((sandbox / "set").stat().st_mode) & 0o7000 == 0
    (sandbox / "set").chmod(0o4755)
    values, _ = await peer.outcome(await peer.start(ISTREAM, "archive_download", job))
    with tarfile.open(fileobj=io.BytesIO(b"".join(values[1:]))) as tar:
        assert all(entry.mode & 0o7000 == 0 for entry in tar.getmembers())


# --- the other ways in -------------------------------------------------------------------------------


async def test_a_sandbox_that_the_job_moved_away(peer: Peer, agent: Agent, outside: Path) -> None:
    """Paths are resolved in the folder that was made for the job, not in the folder that has its name now."""
    job, sandbox = await new_job(peer, agent)
    await upload(peer, job, "mine", b"mine")
    moved = sandbox.with_name("moved")
    sandbox.rename(moved)
    sandbox.symlink_to(outside)
    try:
        with pytest.raises(CallFailed, match="FileNotFoundError"):
            await download(peer, job, "secret")
        assert (await download(peer, job, "mine")).data == b"mine"
    finally:
        sandbox.unlink()
        moved.rename(sandbox)
    assert untouched(outside)


async def test_a_spool_cannot_be_opened_by_a_path(peer: Peer, agent: Agent) -> None:
    """The file of a spool has no name that a job could link to."""
    job, sandbox = await new_job(peer, agent)
    await peer.call("job_start", job, ["sleep", "1000"], None, None, 0)
    call = await peer.start(BISTREAM, "job_exec", job, [sys.executable, "-c", "import signal; signal.pause()"])
    for _ in range(12):
        await peer.data(call, bytes(256 * 1024))
    upload_call = await peer.start(OSTREAM, "file_upload", job, "after")
    await peer.end(upload_call)
    await peer.outcome(upload_call)
    assert sorted(os.listdir(sandbox)) == [".pagent.stderr", ".pagent.stdout", "after"]
    await peer.cancel(call)
