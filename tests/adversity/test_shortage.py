"""The promises of "Shortage": the call that meets it fails with the system's error, and all other work continues."""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pagent.agent import Agent
from pagent.buffers import Bytes
from pagent.config.model import Settings
from pagent.files import newfile
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, AgentProcess, agent_process, running_agent
from tests.kit.peer import BISTREAM, ISTREAM, OSTREAM, PATIENCE_S, CallFailed, Peer
from tests.kit.programs import ECHO, start_program
from tests.kit.transfers import download, eventually, send, unfinished, upload

MIB = 1024 * 1024


async def sleeping(peer: Peer) -> str:
    job = str((await peer.call("job_create"))["uid"])
    await peer.call("job_start", job, ["sleep", "1000"], None, None, 0)
    return job


# --- a full disk ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root and mount(8), for a small tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "pagent-test", disk], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
async def cramped(small_disk: Path, settings: Settings) -> AsyncIterator[tuple[Agent, Peer]]:
    settings = replace(settings, jobs=replace(settings.jobs, root=small_disk, background_threads=2))
    async with running_agent(settings) as agent, peers.dial(agent.rpc_port, TOKEN) as peer:
        yield agent, peer


async def test_an_upload_that_does_not_fit(cramped: tuple[Agent, Peer]) -> None:
    agent, peer = cramped
    job = str((await peer.call("job_create"))["uid"])
    sandbox = agent.jobs.jobs()[0].sandbox.path
    await upload(peer, job, "file", b"before")
    for method, options in [("file_upload", {"filename": "file"}), ("file_upload", {"filename": "new"})]:
        with pytest.raises(CallFailed, match="No space left on device"):
            await send(peer, method, [bytes(MIB)] * 4, job, **options)
    assert (await download(peer, job, "file")).data == b"before"
    await eventually(lambda: not unfinished(sandbox))  # after the result, if the spool did not fit
    assert os.listdir(sandbox) == ["file"]
    await upload(peer, job, "small", bytes(MIB))


async def part_of_an_upload(agent: Agent, peer: Peer) -> tuple[Path, int]:
    """Start an upload that is to keep its part, wait until some of it is written, and return sandbox and call."""
    job = str((await peer.call("job_create"))["uid"])
    sandbox = Path(agent.jobs.jobs()[0].sandbox.path)
    call = await peer.start(OSTREAM, "file_upload", job, "file", partial=True)
    for _ in range(5):
        await peer.data(call, bytes(MIB // 4))
    await eventually(lambda: sum(unfinished(sandbox).values()) >= MIB)
    return sandbox, call


def fill_disk(path: Path) -> None:
    """Fill the disk."""
    filled = subprocess.run(["dd", "if=/dev/zero", f"of={path}"], capture_output=True, text=True, check=False)
    assert "No space left" in filled.stderr


async def test_no_part_is_kept_if_the_write_meets_a_full_disk(cramped: tuple[Agent, Peer], small_disk: Path) -> None:
    agent, peer = cramped
    sandbox, call = await part_of_an_upload(agent, peer)
    fill_disk(small_disk / "filler")
    for _ in range(3):
        await peer.data(call, bytes(MIB // 4))
    await peer.end(call)
    with pytest.raises(CallFailed, match="No space left on device") as caught:
        await peer.outcome(call)
    assert caught.value.cause == "OSError"  # of the write, not of the spool
    assert os.listdir(sandbox) == []


async def test_no_part_is_kept_if_the_spool_meets_a_full_disk(
    cramped: tuple[Agent, Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, peer = cramped
    sandbox, call = await part_of_an_upload(agent, peer)
    released = threading.Event()
    write = newfile.writev

    def wait_and_write(file: int, parts: list[Bytes]) -> int:
        released.wait(PATIENCE_S)
        return write(file, parts)

    monkeypatch.setattr(newfile, "writev", wait_and_write)
    try:
        for _ in range(64):
            await peer.data(call, bytes(MIB // 4))
        with pytest.raises(CallFailed, match=r"spooling .* No space left on device"):
            await peer.outcome(call)
    finally:
        released.set()
    await eventually(lambda: os.listdir(sandbox) == [])


async def test_an_archive_that_does_not_fit(cramped: tuple[Agent, Peer], tmp_path: Path) -> None:
    import io
    import tarfile

    agent, peer = cramped
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, size in (("first", 1000), ("large", 4 * MIB)):
            entry = tarfile.TarInfo(name)
            entry.size = size
            tar.addfile(entry, io.BytesIO(os.urandom(size)))
    job = str((await peer.call("job_create"))["uid"])
    sandbox = agent.jobs.jobs()[0].sandbox.path
    data = buffer.getvalue()
    with pytest.raises(CallFailed, match="No space left on device"):
        await send(peer, "archive_upload", [data[at : at + MIB] for at in range(0, len(data), MIB)], job)
    await eventually(lambda: not unfinished(sandbox))  # after the result, if the spool did not fit
    assert set(os.listdir(sandbox)) <= {"first"}


async def test_a_job_that_fills_the_disk(cramped: tuple[Agent, Peer]) -> None:
    _, peer = cramped
    page = await start_program(peer, ECHO)
    job = str((await peer.call("job_create"))["uid"])
    script = "cat /dev/zero; echo failed with $? >&2; exec sleep 1000"
    await peer.call("job_start", job, ["sh", "-c", script], None, None, 0)
    logs = await peer.start(ISTREAM, "job_logs", job, follow=True)
    while (await peer.next_of(logs))[2].count(b"\0") != 0:
        if (await peer.call("file_stat", job, ".pagent.stdout"))["size"] > MIB:
            break
    await peer.cancel(logs)
    assert (await peer.http(page))[0] == 200
    other = str((await peer.call("job_create"))["uid"])
    with pytest.raises(CallFailed, match="No space left on device"):
        await fill(peer, other)
    assert (await peer.call("job_remove", job))["state"] == "RUNNING"
    await upload(peer, other, "file", bytes(MIB))
    assert (await peer.http(page))[0] == 200


async def fill(peer: Peer, job: str) -> None:
    while True:
        await upload(peer, job, "file", bytes(2 * MIB))


async def test_a_spool_that_does_not_fit(cramped: tuple[Agent, Peer]) -> None:
    _, peer = cramped
    job = await sleeping(peer)
    stuck = await peer.start(BISTREAM, "job_exec", job, ["sleep", "1000"])
    for _ in range(40):
        await peer.data(stuck, bytes(256 * 1024))
    with pytest.raises(CallFailed) as caught:
        await peer.outcome(stuck)
    assert "No space left on device" in str(caught.value)
    assert (await peer.call("job_info", job))["state"] == "RUNNING"


async def test_output_is_capped_on_a_small_disk(small_disk: Path, settings: Settings) -> None:
    settings = replace(settings, jobs=replace(settings.jobs, root=small_disk, max_output_bytes=256 * 1024))
    async with running_agent(settings) as agent, peers.dial(agent.rpc_port, TOKEN) as peer:
        job = str((await peer.call("job_create"))["uid"])
        script = "while :; do head -c 50000 /dev/zero; sleep 0.01; done"
        await peer.call("job_start", job, ["sh", "-c", script], None, None, 0)
        output = agent.jobs.jobs()[0].outputs[".pagent.stdout"]
        await eventually(lambda: output.size() > 4 * MIB)  # twice the disk
        assert (await peer.call("job_info", job))["state"] == "RUNNING"


# --- no descriptors -----------------------------------------------------------------------------------


@contextmanager
def limited(agent: AgentProcess, kind: int, value: int) -> Iterator[None]:
    pid = agent.process.pid
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (value, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, kind, before)


def descriptors(agent: AgentProcess) -> int:
    return max(map(int, os.listdir(f"/proc/{agent.process.pid}/fd"))) + 1


needs_prlimit = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit(2)")


@needs_prlimit
async def test_no_descriptors(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        page = await start_program(peer, ECHO)
        idle = str((await peer.call("job_create"))["uid"])
        await upload(peer, idle, "file", b"content")
        assert (await peer.http(page))[0] == 200
        with limited(agent, resource.RLIMIT_NOFILE, descriptors(agent)):
            await takes_all_descriptors(peer, idle)
            calls: list[tuple[int, str, list[Any]]] = [
                (peers.UNARY, "job_create", []),
                (peers.UNARY, "job_start", [idle, ["true"], None, None, 0]),
                (ISTREAM, "file_download", [idle, "file"]),
                (OSTREAM, "file_upload", [idle, "new"]),
                (BISTREAM, "job_exec", [page, ["true"]]),
                (ISTREAM, "job_logs", [page]),
            ]
            for call_type, method, args in calls:
                call = await peer.start(call_type, method, *args)
                if call_type == OSTREAM:
                    await peer.end(call)
                with pytest.raises(CallFailed, match="Too many open files") as caught:
                    await peer.outcome(call)
                assert caught.value.cause == "OSError", method
            assert (await peer.http(page))[0] == 200  # on its kept connection
            before = len(agent.log)
            dialled = [await asyncio.open_connection("127.0.0.1", agent.ports["rpc"]) for _ in range(3)]
            for _ in range(20):
                assert (await peer.call("job_info", page))["state"] == "RUNNING"
            assert len(agent.log) - before <= 5
        for _, writer in dialled:
            writer.close()
        # It had no descriptor, so nothing was sent to the job.
        assert (await peer.call("job_start", idle, ["true"], None, None, 0))["state"] in ("RUNNING", "FINISHED")
        assert (await download(peer, idle, "file")).data == b"content"
        async with peers.dial(agent.ports["rpc"], TOKEN) as another:
            assert (await another.call("job_info", page))["state"] == "RUNNING"


async def takes_all_descriptors(peer: Peer, job: str) -> None:
    """Use all descriptors below the limit: each call that follows the logs of a job that is not started takes some."""
    while True:
        call = await peer.start(ISTREAM, "job_logs", job, follow=True)
        try:
            await peer.call("job_create")
        except CallFailed as error:
            assert "Too many open files" in str(error)  # noqa: PT017 - until it is so
            await peer.cancel(call)  # it has no result, unless it failed as well
            with suppress(CallFailed):  # a thread may have closed the descriptors of the call by then
                await peer.call("file_stat", job, "file")
            if not await fails_still(peer):
                continue
            return


async def fails_still(peer: Peer) -> bool:
    try:
        await peer.call("job_create")
    except CallFailed:
        return True
    return False


# --- no processes ---------------------------------------------------------------------------------------


@pytest.fixture
def processes() -> Iterator[Path]:
    """Make a control group whose number of processes can be limited."""
    old, new = Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")
    if not (old / "cgroup.procs").exists():
        try:
            old = new if "pids" in (new / "cgroup.subtree_control").read_text().split() else old
        except OSError:
            pytest.skip("no pids controller here")
    group = old / f"pagent-test-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    yield group
    group.rmdir()


async def test_too_many_processes(tmp_path: Path, processes: Path) -> None:
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        page = await start_program(peer, ECHO)
        idle = str((await peer.call("job_create"))["uid"])
        await upload(peer, idle, "file", b"makes the thread that it needs")
        for process in [psutil.Process(agent.process.pid), *psutil.Process(agent.process.pid).children(recursive=True)]:
            (processes / "cgroup.procs").write_text(str(process.pid))
        (processes / "pids.max").write_text("1")
        with pytest.raises(CallFailed, match="Resource temporarily unavailable") as caught:
            await peer.call("job_start", idle, ["true"], None, None, 0)
        assert caught.value.cause in ("OSError", "BlockingIOError")
        with pytest.raises(CallFailed, match="Resource temporarily unavailable"):
            await peer.outcome(await peer.start(BISTREAM, "job_exec", page, ["true"]))
        assert (await peer.http(page))[0] == 200
        info = await peer.call("job_info", idle)
        assert info["state"] == "FINISHED"
        assert "Resource temporarily unavailable" in info["error"]
        await peer.call("job_remove", idle)
        (processes / "pids.max").write_text("max")
        await sleeping(peer)


# --- a log that is not read -----------------------------------------------------------------------------


async def test_a_log_that_is_not_read(tmp_path: Path) -> None:
    async with (
        agent_process(tmp_path, "--log-level", "debug", "--connection-debug") as agent,
        peers.dial(agent.ports["rpc"], TOKEN) as peer,
    ):
        job = await sleeping(peer)
        async with agent.log_unread():  # the pipe fills
            for _ in range(100):
                calls = [await peer.start(peers.UNARY, "job_info", job, "x" * 1000) for _ in range(40)]
                for call in calls:
                    with pytest.raises(CallFailed, match="TypeError"):
                        await peer.outcome(call)
            assert (await peer.call("job_info", job))["state"] == "RUNNING"


# --- jobs that are too much ---------------------------------------------------------------------------


async def test_a_job_that_floods_its_output(peer: Peer, agent: Agent) -> None:
    job = str((await peer.call("job_create"))["uid"])
    page = await start_program(peer, ECHO)
    await peer.call("job_start", job, ["sh", "-c", "yes | head -c 200000000"], None, None, 0)
    for _ in range(20):
        assert (await peer.http(page))[0] == 200
    await peer.call("job_remove", job)


FORKS = """
import os, signal
for _ in range(200):
    if os.fork() == 0:
        os.setsid()
        while True:
            signal.pause()
os.write(1, b"forked\\n")
signal.pause()
"""


async def test_a_job_with_many_processes_ends_completely(peer: Peer) -> None:
    job = str((await peer.call("job_create"))["uid"])
    await peer.call("job_start", job, [sys.executable, "-c", FORKS], None, None, 0)
    logs = await peer.start(ISTREAM, "job_logs", job, follow=True)
    assert (await peer.next_of(logs))[2] == b"forked\n"
    processes = psutil.Process((await peer.call("job_info", job))["pid"]).children(recursive=True)
    assert len(processes) == 200
    await peer.call("job_kill", job, "KILL")
    assert not any(process.is_running() for process in processes)


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="no OOM killer to ask")
async def test_the_agent_is_the_last_victim_of_the_oom_killer(peer: Peer) -> None:
    job = await sleeping(peer)
    pid = (await peer.call("job_info", job))["pid"]
    assert oom_score_adj(pid) == min(1000, oom_score_adj(os.getpid()) + 500)


def oom_score_adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
