"""No peer blocks the event loop: a trivial call every millisecond on another link is answered meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import msgpack
import pytest

from tests.kit import peer as peers
from tests.kit.agents import TOKEN, AgentProcess, agent_process
from tests.kit.peer import BISTREAM, UNARY
from tests.kit.probe import STALL_S, probing


async def test_the_probe_notices_a_blocked_loop(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, probing(agent) as probe:
        assert await probe.longest_s() < STALL_S
        agent.signal(signal.SIGSTOP)
        await asyncio.sleep(2 * STALL_S)
        agent.signal(signal.SIGCONT)
        assert await probe.longest_s() > STALL_S
        assert await probe.longest_s() < STALL_S


#: 8 MiB of arrays in arrays.
NESTED = b"\x98" + (b"\xdd\x00\x00\xff\xff" + (b"\x9f" + b"\x90" * 15) * 0xFFFF) * 8


HEADS = {"data": b"\x93\x04\x05", "call": b"\x96\x02\x05\x14\xa8job_info", "result": b"\x95\x07\x05"}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
async def test_nested_empty_arrays(tmp_path: Path, head: bytes) -> None:
    """8 MiB of them: decoded they would take 600 MiB and seconds."""
    end = {2: b"\x80", 7: b"\x00\xc0"}.get(head[1], b"")
    async with (
        agent_process(tmp_path) as agent,
        probing(agent) as probe,
        peers.dial(agent.ports["rpc"], TOKEN) as peer,
    ):
        before = resident_bytes(agent)
        message = head + (msgpack.packb(NESTED) if head[1] == 7 else NESTED) + end
        for _ in range(3):
            await peer.socket.send(message)
            assert await peer.call("job_count_current_connection") == 0
        assert await probe.longest_s() < STALL_S
        assert resident_bytes(agent) - before < 3 * len(message)


@pytest.mark.slow
async def test_many_listings_of_many_jobs(tmp_path: Path) -> None:
    async with (
        agent_process(tmp_path) as agent,
        probing(agent) as probe,
        peers.dial(agent.ports["rpc"], TOKEN) as peer,
    ):
        for _ in range(100):
            job = (await peer.call("job_create"))["uid"]
            if _ % 4 == 0:
                await peer.call("job_start", job, ["sleep", "600"], {}, port_expected_count=0)
        await probe.longest_s()
        calls = [await peer.start(UNARY, "job_list") for _ in range(200)]
        for call in calls:
            assert len((await peer.outcome(call))[1]) == 100
        assert await probe.longest_s() < STALL_S


MANY_JOBS = 3000


async def make_jobs(peer: peers.Peer, **options: float) -> None:
    calls = [await peer.start(UNARY, "job_create", **options) for _ in range(MANY_JOBS)]
    for call in calls:
        await peer.outcome(call)


@pytest.mark.parametrize("options", [{}, {"linger": 0.5}], ids=["at once", "after their linger time"])
@pytest.mark.slow
async def test_the_removal_of_many_jobs_of_a_lost_link(tmp_path: Path, options: dict[str, float]) -> None:
    async with (
        agent_process(tmp_path) as agent,
        probing(agent) as probe,
        peers.dial(agent.ports["rpc"], TOKEN, uid="another") as watcher,
    ):
        async with peers.dial(agent.ports["rpc"], TOKEN) as peer:
            await make_jobs(peer, **options)
            await probe.longest_s()
        async with asyncio.timeout(peers.PATIENCE_S):
            while await watcher.call("job_list", limit=1):  # noqa: ASYNC110 - it is not reported
                await asyncio.sleep(0.05)
        assert await probe.longest_s() < STALL_S


@pytest.mark.slow
async def test_large_input_of_a_process_in_one_message(tmp_path: Path) -> None:
    size = 32 << 20
    async with (
        agent_process(tmp_path) as agent,
        probing(agent) as probe,
        peers.dial(agent.ports["rpc"], TOKEN) as peer,
    ):
        job = (await peer.call("job_create"))["uid"]
        await peer.call("job_start", job, ["sleep", "600"], {}, port_expected_count=0)
        call = await peer.start(BISTREAM, "job_exec", job, ["wc", "-c"])
        await peer.data(call, bytes(size))
        await peer.data(call, b"")
        values, code = await peer.outcome(call)
        assert (b"".join(values), code) == (b"%d\n" % size, 0)
        assert await probe.longest_s() < STALL_S


def resident_bytes(agent: AgentProcess) -> int:
    pages = int(Path(f"/proc/{agent.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
