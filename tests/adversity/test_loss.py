"""Links that are lost in each possible way (docs/contract.rst, "Loss")."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import replace

import pytest

from pagent import limits
from pagent.agent import Agent
from pagent.config.model import ClientSettings, Settings
from pagent.net.dial import Backoff
from tests.jobs.conftest import is_alive
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.transfers import eventually


async def with_a_job(agent: Agent, peer: peers.Peer) -> int:
    """Start a job of this peer; return its pid."""
    job = (await peer.call("job_create"))["uid"]
    info = await peer.call("job_start", job, ["sleep", "600"], {}, port_expected_count=0)
    pid: int = info["pid"]
    return pid


async def test_a_reset_ends_the_links_jobs(agent: Agent) -> None:
    async with peers.dial(agent.rpc_port, TOKEN) as peer:
        await with_a_job(agent, peer)
        sock = peer.socket.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.socket.transport.abort()
        await eventually(lambda: not list(agent.jobs.jobs()))
    assert len(agent.links) == 0


async def test_a_connection_that_ends_without_a_close_frame_ends_its_jobs(agent: Agent) -> None:
    async with peers.dial(agent.rpc_port, TOKEN) as peer:
        await with_a_job(agent, peer)
        peer.socket.transport.write_eof()
        await eventually(lambda: not list(agent.jobs.jobs()))


async def test_a_peer_that_stops_answering_is_dead(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel still acknowledges. The limits are shorter here than usual."""
    monkeypatch.setattr("pagent.net.link.liveness.PING_INTERVAL_S", 0.05)
    monkeypatch.setattr("pagent.net.link.liveness.SILENCE_MAX_S", 1.0)
    async with peers.dial(agent.rpc_port, TOKEN) as lively, peers.dial(agent.rpc_port, TOKEN) as silent:
        await with_a_job(agent, silent)
        silent.socket.transport.pause_reading()
        await eventually(lambda: not list(agent.jobs.jobs()))
        assert await lively.call("job_count_current_connection") == 0  # it answers pings only
        silent.socket.transport.abort()


async def test_a_peer_is_dead_after_many_unanswered_retransmissions(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagent.net.link.liveness.PING_INTERVAL_S", 0.05)
    counts = [5]
    monkeypatch.setattr("pagent.net.link.liveness.unanswered_segments", lambda transport: counts[0])
    async with peers.dial(agent.rpc_port, TOKEN) as peer:
        await with_a_job(agent, peer)
        counts[0] = 6
        await eventually(lambda: not list(agent.jobs.jobs()))


async def test_a_peer_is_dead_after_few_unanswered_retransmissions_for_long(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a kernel that waits long between two of them, six would take too long."""
    monkeypatch.setattr("pagent.net.link.liveness.PING_INTERVAL_S", 0.02)
    monkeypatch.setattr("pagent.net.link.liveness.UNANSWERED_MAX_S", 0.2)
    counts = {"dead": 1, "slow": 0}
    looks = 0

    def unanswered(transport: asyncio.BaseTransport) -> int:
        nonlocal looks
        looks += 1
        if transport.get_extra_info("peername")[1] == dead.socket.local_address[1]:
            return counts["dead"]
        counts["slow"] ^= 1  # each probe is unanswered at one check, and answered at the next
        return counts["slow"]

    async with peers.dial(agent.rpc_port, TOKEN) as dead, peers.dial(agent.rpc_port, TOKEN) as slow:
        await with_a_job(agent, dead)
        monkeypatch.setattr("pagent.net.link.liveness.unanswered_segments", unanswered)
        await eventually(lambda: not list(agent.jobs.jobs()))
        seen = looks
        await eventually(lambda: looks > seen + 40)
        assert await slow.call("job_count_current_connection") == 0


async def test_an_agent_dials_again_and_the_link_works(settings: Settings) -> None:
    async with peers.listen() as listener:
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{listener.port}", reconnect_delay=0.1)
        async with running_agent(replace(settings, client=client)) as agent:
            for _ in range(3):
                router = await listener.accepted()
                await with_a_job(agent, router)
                router.socket.transport.abort()
            router = await listener.accepted()
            async with asyncio.timeout(PATIENCE_S):
                assert await router.call("job_count_current_connection") == 0
            await eventually(lambda: not list(agent.jobs.jobs()))


async def test_it_dials_again_once_the_jobs_of_the_lost_link_have_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TERM_GRACE_S", 1.5)  # longer than the first wait between two dials
    async with peers.listen() as listener:
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{listener.port}", token=TOKEN)
        async with running_agent(replace(settings, client=client)) as agent:
            router = await listener.accepted()
            job = (await router.call("job_create"))["uid"]
            stubborn = ["sh", "-c", "trap '' TERM; echo on; while :; do sleep 600; done"]
            info = await router.call("job_start", job, stubborn, {}, port_expected_count=0)
            logs = await router.start(peers.ISTREAM, "job_logs", job, follow=True)
            assert (await router.next_of(logs))[2] == b"on\n"
            router.socket.transport.abort()
            await listener.accepted()
            assert not is_alive(info["pid"])
            assert not list(agent.jobs.jobs())


def test_waits_grow_with_jitter_and_begin_again_after_a_long_link() -> None:
    backoff = Backoff(10.0)
    ceilings = [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    for ceiling in ceilings:
        assert ceiling / 2 <= backoff.delay(1.0) <= ceiling
    assert backoff.delay(30.0) <= 0.5
    assert 0.5 <= backoff.delay(0.0) <= 1.0
    assert len({Backoff(10.0).delay(0.0) for _ in range(20)}) > 1
