"""Errors show no path of the machine, whatever goes wrong where."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.config.model import Settings
from tests.kit import peer as peers
from tests.kit.peer import CallFailed, Peer
from tests.kit.transfers import download, fetch, sandbox_of, send, upload


@pytest.fixture
def root(settings: Settings) -> Path:
    assert settings.jobs.root is not None
    return settings.jobs.root


async def new_job(peer: Peer) -> str:
    return str((await peer.call("job_create"))["uid"])


async def text_of(call: Any, root: Path) -> str:
    with pytest.raises(CallFailed) as failed:
        await call
    text = str(failed.value)
    assert str(root) not in text
    assert "/proc" not in text
    assert "pagent-" not in text
    return text


async def test_creation(peer: Peer, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Any, *arguments: Any, **keywords: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", fail)
        text = await text_of(peer.call("job_create"), root)
    assert "OSError: [Errno 28] No space left on device" in text


async def test_start(peer: Peer, agent: Agent, root: Path) -> None:
    job = await new_job(peer)
    for program in ("nope", "./nope", "/nowhere/nope"):
        text = await text_of(peer.call("job_start", await new_job(peer), [program], None), root)
        assert f"No such file or directory: {program!r}" in text
    await text_of(peer.call("job_start", job, ["true"], None, "nowhere"), root)
    shutil.rmtree(sandbox_of(agent, job))
    await text_of(peer.call("job_start", job, ["true"], None, None, 0), root)


async def test_files_and_archives_of_a_sandbox_that_is_gone(peer: Peer, agent: Agent, root: Path) -> None:
    job = await new_job(peer)
    sandbox = sandbox_of(agent, job)
    for path in ("file", "a/file", ".", ""):
        await text_of(download(peer, job, path), root)
    (sandbox / "locked").mkdir(mode=0)
    (sandbox / "folder").mkdir()
    await text_of(upload(peer, job, "folder", b"x"), root)
    await text_of(download(peer, job, "folder"), root)
    await text_of(peer.call("file_remove", job, "nothing"), root)
    await text_of(peer.call("file_list", job, "nothing"), root)
    await text_of(peer.call("file_stat", job, "nothing"), root)
    shutil.rmtree(sandbox)
    await text_of(upload(peer, job, "file", b"x"), root)
    await text_of(upload(peer, job, "a/file", b"x"), root)
    await text_of(send(peer, "archive_upload", [b"nonsense" * 200], job), root)
    await text_of(peer.call("file_stat", job, "file"), root)
    (await fetch(peer, "archive_download", job)).data  # noqa: B018 - an empty folder is no error


async def test_exec(peer: Peer, root: Path) -> None:
    job = await new_job(peer)
    await peer.call("job_start", job, ["sleep", "1000"], None, None, 0)
    for program in ("nope", "./nope", "/nowhere/nope", "/etc/passwd"):
        for tty in (False, True):
            call = await peer.start(peers.BISTREAM, "job_exec", job, [program], tty=tty)
            assert repr(program) in await text_of(peer.outcome(call), root)


async def test_errors_without_a_descriptor_left(
    peer: Peer, agent: Agent, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(peer)
    await peer.call("job_start", job, ["sleep", "1000"], None, None, 0)

    def fail(*arguments: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/proc/4711/stat")

    with monkeypatch.context() as patch:
        patch.setattr(type(agent.jobs), "kill", fail)
        text = await text_of(peer.call("job_kill", job, "USR1"), root)
    assert "OSError: [Errno 24] Too many open files" in text


# --- the folder of the sandboxes --------------------------------------------------------------------


async def test_after_a_cleaner_of_temporary_files(peer: Peer, agent: Agent, root: Path) -> None:
    before = await new_job(peer)
    sandbox = sandbox_of(agent, before)
    shutil.rmtree(sandbox.parent)
    for _ in range(2):
        job = await new_job(peer)
        await peer.call("job_start", job, ["sh", "-c", "echo here; exec sleep 1000"], None, None, 0)
        assert sandbox_of(agent, job).is_dir()
    await peer.call("job_remove", before)
    assert len(os.listdir(root)) == 1


async def test_after_a_cleaner_that_deleted_the_root_as_well(peer: Peer, agent: Agent, root: Path) -> None:
    shutil.rmtree(root)
    job = await new_job(peer)
    await upload(peer, job, "file", b"x")
    assert (sandbox_of(agent, job) / "file").read_bytes() == b"x"


async def test_a_folder_that_replaced_the_sandbox_is_not_used(peer: Peer, agent: Agent) -> None:
    folder = sandbox_of(agent, await new_job(peer)).parent
    shutil.rmtree(folder)
    folder.mkdir()
    assert sandbox_of(agent, await new_job(peer)).parent != folder
    assert list(folder.iterdir()) == []
    folder.rmdir()
