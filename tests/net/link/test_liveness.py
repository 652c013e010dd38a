"""What the kernel is told of a link's socket, and what it tells."""

from __future__ import annotations

import asyncio
import socket
import sys
from dataclasses import replace

import pytest

from pagent.agent import Agent
from pagent.config.model import ClientSettings, Settings
from pagent.limits import RETRANSMIT_WAIT_MAX_S
from pagent.net.link import liveness
from pagent.net.link.link import Link
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.joined import MemoryTransport
from tests.kit.peer import Peer
from tests.kit.transfers import eventually

#: linux/tcp.h
TCP_RTO_MAX_MS = 44


def rto_max_s(transport: asyncio.BaseTransport) -> float:
    """The longest time between two retransmissions or probes of a socket."""
    sock = socket.socket(fileno=transport.get_extra_info("socket").fileno())
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS) / 1000
    finally:
        sock.detach()


def missing() -> str:
    """Why the kernel cannot be told; empty if it can."""
    if not sys.platform.startswith("linux"):
        return "needs Linux"
    with socket.socket() as sock:
        try:
            sock.getsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS)
        except OSError as error:
            return f"needs Linux 6.15: {error.strerror}"
    return ""


_missing = missing()


@pytest.mark.skipif(bool(_missing), reason=_missing)
async def test_the_kernel_asks_a_silent_peer_often_in_both_roles(settings: Settings) -> None:
    async with peers.listen() as listener:
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{listener.port}")
        async with running_agent(replace(settings, client=client)) as agent, peers.dial(agent.rpc_port, TOKEN):
            router = await listener.accepted()
            await eventually(lambda: len(agent.links) == 2)
            links = [connection.link for connection in agent.links.open]
            assert sorted(link.dialled for link in links) == [False, True]
            for link in links:
                assert link._transport is not None
                assert rto_max_s(link._transport) == RETRANSMIT_WAIT_MAX_S
            router.socket.transport.abort()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
async def test_a_kernel_that_cannot_be_told_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "_RTO_MAX_MS", 999)  # ENOPROTOOPT, as older kernels say of it
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    try:
        liveness.ask_often(transport)
        assert liveness.unanswered_segments(transport) == 0
        assert not transport.is_closing()
    finally:
        transport.abort()
        server.close()


async def test_a_link_that_has_no_socket_is_one(agent: Agent, peer: Peer) -> None:
    (connection,) = agent.links.open
    transport = MemoryTransport(Link(connection, dialled=False))
    liveness.ask_often(transport)
    assert liveness.unanswered_segments(transport) == 0
