"""Transfers that are large, whose link is cut, or whose disk is full: no half-written file, and no growing memory."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pagent.agent import Agent
from pagent.client import connect_agent
from pagent.config.model import Settings
from pagent.errors import LinkClosedError
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, agent_process
from tests.kit.descriptors import open_files
from tests.kit.peer import ISTREAM, OSTREAM, CallFailed, Peer
from tests.kit.transfers import download, eventually, fetch, new_job, sandbox_of, send, unfinished, upload

MIB = 1024 * 1024
NOISE = random.Random(0).randbytes(3 * MIB + 777)
DIGEST = hashlib.sha256(NOISE).hexdigest()


@asynccontextmanager
async def dialled(agent: Agent) -> AsyncIterator[Peer]:
    async with peers.dial(agent.rpc_port, TOKEN) as peer:
        yield peer


async def cut(peer: Peer) -> None:
    """Drop the connection without a close."""
    peer.socket.transport.abort()
    await peer.socket.wait_closed()


def archive_of(data: bytes) -> bytes:
    """Return a tar of two files of this data, d/whole and d/cut."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("whole", "cut"):
            entry = tarfile.TarInfo(f"d/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


async def settled(sandbox: Path) -> None:
    """Wait until the agent has closed all files of the sandbox."""
    await eventually(lambda: not open_files(sandbox))


class TestCut:
    """Let the job outlive its link, so that its files can be checked."""

    @pytest.fixture
    async def lingering(self, agent: Agent) -> AsyncIterator[tuple[Peer, str, Path]]:
        async with dialled(agent) as peer:
            job, sandbox = await new_job(peer, agent, linger=600.0)
            yield peer, job, sandbox

    async def test_an_upload(self, agent: Agent, lingering: tuple[Peer, str, Path]) -> None:
        peer, job, sandbox = lingering
        await upload(peer, job, "d/f", b"as it was")
        call = await peer.start(OSTREAM, "file_upload", job, "d/f")
        await peer.data(call, NOISE[: 2 * MIB])
        await eventually(lambda: list(unfinished(sandbox).values()) == [2 * MIB])
        await cut(peer)
        await settled(sandbox)
        assert os.listdir(sandbox / "d") == ["f"]
        assert (sandbox / "d/f").read_bytes() == b"as it was"

    async def test_an_upload_that_is_resumed(self, agent: Agent, lingering: tuple[Peer, str, Path]) -> None:
        peer, job, sandbox = lingering
        call = await peer.start(OSTREAM, "file_upload", job, "f", partial=True)
        await peer.data(call, NOISE[:MIB])
        await eventually(lambda: list(unfinished(sandbox).values()) == [MIB])
        await cut(peer)
        await settled(sandbox)
        async with dialled(agent) as other:
            await other.call("job_adopt", job)
            assert [found["path"] for found in await other.call("file_list", job)] == ["f.pagent-partial"]
            have = (await other.call("file_stat", job, "f.pagent-partial"))["size"]
            assert have >= MIB
            await upload(other, job, "f", NOISE[have:], offset=have, sha256=DIGEST)
            assert (await other.call("file_stat", job, "f", sha256=True))["sha256"] == DIGEST
        assert unfinished(sandbox) == {}

    async def test_a_download_that_is_resumed(self, agent: Agent, lingering: tuple[Peer, str, Path]) -> None:
        peer, job, sandbox = lingering
        (sandbox / "f").write_bytes(NOISE * 20)
        call = await peer.start(ISTREAM, "file_download", job, "f", remove=True)
        await peer.next_of(call)
        first = (await peer.next_of(call))[2]
        await cut(peer)
        await settled(sandbox)
        async with dialled(agent) as other:
            await other.call("job_adopt", job)
            rest = await download(other, job, "f", offset=len(first), remove=True)
        assert hashlib.sha256(first + rest.data).digest() == hashlib.sha256(NOISE * 20).digest()
        assert os.listdir(sandbox) == []

    async def test_an_archive_on_its_way_in(self, agent: Agent, lingering: tuple[Peer, str, Path]) -> None:
        peer, job, sandbox = lingering
        call = await peer.start(OSTREAM, "archive_upload", job)
        await peer.data(call, archive_of(NOISE)[: len(NOISE) + MIB])
        await eventually(lambda: unfinished(sandbox) and (sandbox / "d/whole").exists())
        await cut(peer)
        await settled(sandbox)
        assert os.listdir(sandbox / "d") == ["whole"]
        assert (sandbox / "d/whole").read_bytes() == NOISE

    @pytest.mark.parametrize("method", ["file_upload", "archive_upload"])
    async def test_the_job_is_removed_meanwhile(
        self, lingering: tuple[Peer, str, Path], method: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        peer, job, sandbox = lingering
        call = await peer.start(OSTREAM, method, job, *(["f"] if method == "file_upload" else []))
        await peer.data(call, archive_of(NOISE)[:MIB])
        await eventually(lambda: open_files(sandbox))
        await peer.call("job_remove", job)
        with pytest.raises(CallFailed, match="JobNotFoundError"):  # without another message of the caller
            await peer.outcome(call)
        await settled(sandbox)
        assert not sandbox.exists()
        assert "Traceback" not in caplog.text

    @pytest.mark.parametrize("compress", [False, True])
    async def test_an_archive_on_its_way_out(
        self, agent: Agent, lingering: tuple[Peer, str, Path], compress: bool
    ) -> None:
        peer, job, sandbox = lingering
        (sandbox / "f").write_bytes(NOISE * 4)
        call = await peer.start(ISTREAM, "archive_download", job, compress=compress)
        await peer.next_of(call)
        await cut(peer)
        await settled(sandbox)
        assert os.listdir(sandbox) == ["f"]

    async def test_our_client_in_both_directions(self, agent: Agent, tmp_path: Path) -> None:
        """The client continues where the link was cut; no byte is sent or read twice."""
        data = NOISE * 8  # the data under way (the largest window) is less than half
        (tmp_path / "f").write_bytes(data)
        address = f"127.0.0.1:{agent.rpc_port}"

        async with connect_agent(address, token=TOKEN) as client:
            job = await client.create_job(linger=600.0)
            sandbox = sandbox_of(agent, job.uid)
            link = client.link.link

            def cut_at_half(done: int, total: int) -> None:
                if done > total / 2:
                    link.abort("cut by the test")

            with pytest.raises(LinkClosedError):
                await job.upload(tmp_path / "f", "f", resume=True, progress=cut_at_half)
        await settled(sandbox)
        assert [name.endswith("pagent-partial") for name in unfinished(sandbox)] == [True]

        async with connect_agent(address, token=TOKEN) as client:
            job = await client.adopt_job(job.uid)
            link = client.link.link
            assert 0 < await job.upload(tmp_path / "f", "f", resume=True) < len(data)
            with pytest.raises(LinkClosedError):
                await job.download("f", tmp_path / "g", resume=True, progress=cut_at_half)
        assert not (tmp_path / "g").exists()

        async with connect_agent(address, token=TOKEN) as client:
            job = await client.adopt_job(job.uid)
            assert 0 < await job.download("f", tmp_path / "g", resume=True) < len(data)
        assert (tmp_path / "g").read_bytes() == data


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
class TestFullDisk:
    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path) -> Iterator[Settings]:
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=False, capture_output=True
        )
        if mounted.returncode:
            pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode()}")
        try:
            yield replace(settings, jobs=replace(settings.jobs, root=disk))
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)

    async def test_an_upload(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        await upload(peer, job, "small", b"as it was")
        with pytest.raises(CallFailed) as failed:
            await send(peer, "file_upload", [NOISE] * 4, job, "d/big")
        assert (failed.value.cause, failed.value.cause_message) in (
            ("OSError", "[Errno 28] No space left on device: 'd/big'"),
            (None, None),  # the link was faster than the disk, and the spool had no room
        )
        assert "No space left on device" in str(failed.value)
        await settled(sandbox)
        assert unfinished(sandbox) == {}
        assert await upload(peer, job, "small", NOISE) == len(NOISE)

    async def test_an_archive(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for number in range(4):
                entry = tarfile.TarInfo(f"{number}")
                entry.size = len(NOISE)
                archive.addfile(entry, io.BytesIO(NOISE))
        data = buffer.getvalue()
        with pytest.raises(CallFailed, match="No space left on device"):
            await send(peer, "archive_upload", [data[at : at + MIB] for at in range(0, len(data), MIB)], job)
        await settled(sandbox)
        assert unfinished(sandbox) == {}
        assert all((sandbox / name).read_bytes() == NOISE for name in os.listdir(sandbox))

    async def test_no_room_for_a_spool(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        for name in ("a", "b"):
            (sandbox / name).write_bytes(NOISE)
        with pytest.raises(CallFailed, match=r"OSError.*No space left on device"):
            await fetch(peer, "archive_download", job, compress=True)
        await settled(sandbox)
        assert (await fetch(peer, "archive_download", job)).size > 2 * len(NOISE)

    async def test_from_ours(self, agent: Agent, tmp_path: Path) -> None:
        """With flow control nothing is spooled, so the error is that of the write."""
        async with connect_agent(f"127.0.0.1:{agent.rpc_port}", token=TOKEN) as client:
            job = await client.create_job()
            with pytest.raises(Exception, match="No space left on device: 'big'"):
                await job.write("big", NOISE * 4)
            assert await job.list() == []
            assert await job.write("small", NOISE) == len(NOISE)


def memory(pid: int, which: str) -> int:
    """Return VmRSS or VmHWM (the peak) of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
class TestMemory:
    """The memory is bounded by 32 MB. This is a smaller version of transfers of 20,000 files, and of a file of 4 GB."""

    @pytest.mark.slow
    async def test_with_flow_control(self, tmp_path: Path) -> None:
        (tmp_path / "jobs").mkdir()
        source = tmp_path / "source"
        for number in range(2000):
            path = source / f"folder {number % 20}/{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(NOISE[:number])
        with (tmp_path / "big").open("wb") as file:
            file.write(NOISE)
            file.truncate(96 * MIB)
        async with (
            agent_process(tmp_path / "jobs") as agent,
            connect_agent(f"127.0.0.1:{agent.ports['rpc']}", token=TOKEN) as client,
        ):
            job = await client.create_job()
            await job.write("first", NOISE)
            await job.read("first")
            before = memory(agent.process.pid, "VmRSS")
            await job.upload_folder(source)
            await job.upload(tmp_path / "big", "big")
            found = await job.stat("big", sha256=True)
            async for _ in job.read_chunks("big"):
                pass
            await job.download_archive(tmp_path / "all.tar")
            await job.download_archive(tmp_path / "some.tar", include_mask="*/*", compress=True)
            assert memory(agent.process.pid, "VmHWM") - before < 32 * MIB
        with (tmp_path / "big").open("rb") as file:
            assert found["sha256"] == hashlib.file_digest(file, "sha256").hexdigest()
        with tarfile.open(tmp_path / "all.tar") as archive:
            assert len(archive.getnames()) == 2022

    async def test_a_router_without_flow_control(self, tmp_path: Path) -> None:
        """It sends as fast as the link takes, and reads late."""
        async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
            job = (await peer.call("job_create"))["uid"]
            await upload(peer, job, "first", NOISE)
            await download(peer, job, "first")
            before = memory(agent.process.pid, "VmRSS")
            assert await send(peer, "file_upload", [NOISE[: MIB // 4]] * 256, job, "big") == 64 * MIB
            call = await peer.start(ISTREAM, "file_download", job, "big", MIB)
            peer.socket.transport.pause_reading()
            await asyncio.sleep(0)
            async with peers.dial(agent.ports["rpc"], TOKEN) as other:
                for _ in range(20):
                    await other.call("job_count_current_connection")
            assert memory(agent.process.pid, "VmHWM") - before < 32 * MIB
            peer.socket.transport.resume_reading()
            values, result = await peer.outcome(call)
            assert sum(map(len, values[1:])) == result == 64 * MIB
            assert memory(agent.process.pid, "VmHWM") - before < 32 * MIB
