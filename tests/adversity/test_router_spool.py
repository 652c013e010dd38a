"""A full or hung disk below ``spool.root``: the answers that need it are cut off, and all others continue.

docs/router.rst, "Answers": what an agent of the field sends faster than a client reads is spooled.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.kit.agents import TOKEN, AgentProcess, router_process
from tests.kit.field_agent import field_agent
from tests.kit.fuse import hung_folder
from tests.kit.routers import ask
from tests.kit.wire import Wire

MIB = 1024 * 1024
#: More than sockets and the memory of a spool take.
SIZE = 24 * MIB
SLOW_CLIENTS = 4
BYTES = [("Content-Type", "application/octet-stream")]
JSON = [("Content-Type", "application/json")]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root and mount(8), for a small tmpfs")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "pagent-test", disk]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


@asynccontextmanager
async def job_with_a_file(root: Path) -> AsyncIterator[tuple[AgentProcess, str]]:
    """Yield a router and the path of a job of an agent of the field, which has a large file."""
    async with router_process("--set", f"spool.root={str(root)!r}", "--set", "ready_wait=0") as router:
        port = router.ports["control"]
        async with field_agent("F", router.ports["server"], TOKEN):
            await router.says("is connected from")
            wanted = {"name": "x", "agent": {"type": "uid", "uid": "F"}}
            job = (await ask(port, "POST", "/jobs/create", wanted, JSON)).json
            start = {"args": ["x"], "env": {}}
            path = job["path"]
            assert (await ask(port, "POST", f"{path}/start", start, JSON)).status == 200
            assert (await ask(port, "POST", f"{path}/file/large", bytes(SIZE), BYTES)).status == 200
            yield router, path


async def reads_nothing(router: AgentProcess, path: str) -> Wire:
    """Ask for the large file, and read only the head of the answer."""
    client = Wire(*await asyncio.open_connection("127.0.0.1", router.ports["control"]))
    client.say(f"GET {path}/file/large HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert (await client.head())[0] == 200
    return client


async def is_cut(client: Wire) -> bool:
    try:
        return len(await client.rest()) < SIZE
    except ConnectionResetError:
        return True
    finally:
        client.writer.transport.abort()


async def others_go_on(router: AgentProcess, path: str) -> None:
    for _ in range(5):
        answer = await ask(router.ports["control"], "POST", f"{path}/http/other", b"body")
        assert answer.body == b"POST /other\nbody"


async def test_a_full_disk(full_disk: Path) -> None:
    async with job_with_a_file(full_disk) as (router, path):
        slow = [await reads_nothing(router, path) for _ in range(SLOW_CLIENTS)]
        await router.says("a stream is given up: spooling the stream's data failed: No space left on device")
        await others_go_on(router, path)
        for client in slow:
            assert await is_cut(client)
        await others_go_on(router, path)
        assert os.listdir(full_disk) == []


@pytest.mark.slow
async def test_a_disk_that_hangs(tmp_path: Path) -> None:
    """More answers need it than there are threads. A signal ends the router while the disk still hangs."""
    with hung_folder(tmp_path / "disk") as disk:
        async with job_with_a_file(disk.path) as (router, path):
            disk.stop()
            slow = [await reads_nothing(router, path) for _ in range(SLOW_CLIENTS)]
            await router.says("a stream is given up: the disk is too slow")
            await others_go_on(router, path)
            for client in slow:
                assert await is_cut(client)
            router.signal(signal.SIGTERM)
            assert await router.ended() == 0
