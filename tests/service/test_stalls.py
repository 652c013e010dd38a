"""How long work on files holds the loop, seen from another link."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import lzma
import os
import tarfile
from pathlib import Path

import pytest

from tests.kit.agents import TOKEN, agent_process
from tests.kit.peer import ISTREAM, dial
from tests.kit.probe import STALL_S, probing
from tests.kit.transfers import download, send, upload


@pytest.mark.parametrize("extensions", [None, ["flow"]])
@pytest.mark.slow
async def test_downloads_in_chunks_of_one_byte(tmp_path: Path, extensions: list[str] | None) -> None:
    async with agent_process(tmp_path) as agent, dial(agent.ports["rpc"], TOKEN, extensions=extensions) as peer:
        job = (await peer.call("job_create"))["uid"]
        await upload(peer, job, "file", os.urandom(20_000))
        async with probing(agent) as probe:
            for _ in range(20):
                await peer.start(ISTREAM, "file_download", job, "file", chunk_size=1)
            await asyncio.sleep(1)
            assert await probe.longest_s() < STALL_S


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.slow
async def test_an_archive_of_empty_members(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w").close()
    member = pack(b"")
    packed = member * ((2 << 20) // len(member)) + pack(buffer.getvalue())
    async with agent_process(tmp_path) as agent, dial(agent.ports["rpc"], TOKEN) as peer:
        job = (await peer.call("job_create"))["uid"]
        async with probing(agent) as probe:
            assert await send(peer, "archive_upload", [packed], job) == len(packed)
            assert await probe.longest_s() < STALL_S


async def test_an_ordinary_archive_in_one_message(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        entry = tarfile.TarInfo("file")
        data = os.urandom(16 << 20)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    async with agent_process(tmp_path) as agent, dial(agent.ports["rpc"], TOKEN) as peer:
        job = (await peer.call("job_create"))["uid"]
        async with probing(agent) as probe:
            assert await send(peer, "archive_upload", [buffer.getvalue()], job) == len(buffer.getvalue())
            assert await probe.longest_s() < STALL_S
        assert (await download(peer, job, "file")).data == data
