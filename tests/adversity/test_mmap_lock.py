"""A job that holds its own memory map locked for ever: reads of its environment or command line hang."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.conftest import gone
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, agent_process
from tests.kit.fuse import unreadable_file
from tests.kit.peer import BISTREAM, ISTREAM, Peer
from tests.kit.probe import STALL_S, probing
from tests.kit.programs import ECHO, start_program

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

#: A child waits for a page of the file. The mapping of it then waits for that page, with the memory map locked.
LOCKS_ITS_MAP = """
import mmap, os, sys, time
file = os.open(sys.argv[1], os.O_RDONLY)

def map_file():
    return mmap.mmap(file, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)

child = os.fork()
if child == 0:
    map_file()[0]
print(os.getpid(), child, flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
map_file()
"""


async def pids_of(peer: Peer, job: str) -> list[int]:
    logs = await peer.start(ISTREAM, "job_logs", job, follow=True)
    text = b""
    while b"\n" not in text:
        text += (await peer.next_of(logs))[2]
    await peer.cancel(logs)
    return [int(pid) for pid in text.split()]


async def until_locked(pid: int) -> None:
    """Wait until a read of the environment hangs; a process tries it, which can be killed."""
    async with asyncio.timeout(peers.PATIENCE_S):
        while True:
            reading = await asyncio.create_subprocess_exec("cat", f"/proc/{pid}/environ", stdout=subprocess.DEVNULL)
            try:
                async with asyncio.timeout(0.5):
                    await reading.wait()
            except TimeoutError:
                reading.kill()
                await reading.wait()
                return


@pytest.mark.slow
async def test_a_job_that_locks_its_memory_map_holds_nothing_up(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with unreadable_file(tmp_path / "file") as file:
        async with (
            agent_process(root, "--set", "jobs.port_ownership='enforce'") as agent,
            probing(agent) as probe,
            peers.dial(agent.ports["rpc"], TOKEN) as peer,
        ):
            job = (await peer.call("job_create"))["uid"]
            command = [sys.executable, "-I", "-S", "-c", LOCKS_ITS_MAP, str(file.path)]
            await peer.call("job_start", job, command, None, None, 0)
            pids = await pids_of(peer, job)
            assert await asyncio.to_thread(file.waits.wait, peers.PATIENCE_S)
            (sandbox,) = root.glob(f"pagent-*/{job}")
            (sandbox / "go").touch()
            await until_locked(pids[0])
            await probe.longest_s()

            assert (await peer.call("job_info", job))["state"] == "RUNNING"
            assert await peer.call("job_listening", job) == []
            other = await start_program(peer, ECHO)  # its port is looked for among the sockets of all jobs
            assert (await peer.http(other))[0] == 200
            call = await peer.start(BISTREAM, "job_exec", other, ["true"])
            assert (await peer.outcome(call))[1] == 0
            await peer.call("job_kill", other, "KILL")
            assert len(await peer.call("job_list")) == 2
            assert await probe.longest_s() < STALL_S

            agent.signal(signal.SIGTERM)
            assert await agent.ended() == 0
    for pid in pids:
        await gone(pid)
