"""Connections within this host choose their congestion control; others are left alone."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client import connect_agent
from pagent.net.loopback import choose_reno
from pagent.net.port import connect_port
from tests.kit.agents import TOKEN
from tests.kit.ends import QuietUser

TCP_CONGESTION = getattr(socket, "TCP_CONGESTION", None)
ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")


@pytest.fixture
def other() -> str:
    """A congestion control that is not Reno, which anybody may choose."""
    if TCP_CONGESTION is None or not ALLOWED.exists():
        pytest.skip("no congestion control to be chosen on this system")
    names = [name for name in ALLOWED.read_text().split() if name != "reno"]
    if not names:
        pytest.skip("Reno is the only congestion control that is allowed here")
    return names[0]


def chosen(end: Any) -> str:
    assert TCP_CONGESTION is not None
    return str(end.getsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, 16).rstrip(b"\0").decode())


class Transport(asyncio.BaseTransport):
    """With a socket, and a peer that is said to be anywhere."""

    def __init__(self, end: socket.socket | None, peer: Any) -> None:
        super().__init__({"socket": end, "peername": peer})


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        (("127.0.0.1", 80), True),
        (("127.3.2.1", 80), True),
        (("::1", 80, 0, 0), True),
        (("::ffff:127.0.0.1", 80, 0, 0), True),
        (("::ffff:192.0.2.1", 80, 0, 0), False),
        (("192.0.2.1", 80), False),
        (("fe80::1%lo", 80, 0, 1), False),
        ("/run/a.sock", False),
        ("", False),
        (None, False),
    ],
)
def test_only_for_a_peer_on_this_host(other: str, peer: Any, local: bool) -> None:
    assert TCP_CONGESTION is not None
    with socket.socket() as end:
        end.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, other.encode())
        choose_reno(Transport(end, peer))
        assert chosen(end) == ("reno" if local else other)


@pytest.mark.parametrize("peer", [("127.0.0.1", 80), ("no address", 80)])
def test_a_connection_that_is_gone_is_met_later(peer: Any) -> None:
    end = socket.socket()
    end.close()
    choose_reno(Transport(end, peer))
    choose_reno(Transport(None, peer))


class Mourner(QuietUser):
    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def port_lost(self, error: Exception | None) -> None:
        self.lost.set_result(None)


async def test_so_is_one_that_the_loop_has_closed(listener: socket.socket) -> None:
    user = Mourner()
    transport = (await connect_port(listener.getsockname()[1], user))._transport
    assert transport is not None
    transport.abort()
    await user.lost
    choose_reno(transport)


async def test_a_connection_to_a_port(other: str, listener: socket.socket) -> None:
    connection = await connect_port(listener.getsockname()[1], QuietUser())
    assert connection._transport is not None
    assert chosen(connection._transport.get_extra_info("socket")) == "reno"
    connection.abort()


async def test_both_ends_of_a_link_of_ours(other: str, agent: Agent) -> None:
    async with connect_agent(f"127.0.0.1:{agent.rpc_port}", token=TOKEN) as client:
        near = client.link.link
        [far] = [connection.link for connection in agent._connections.values()]
        for link in (near, far):
            assert link._transport is not None
            assert chosen(link._transport.get_extra_info("socket")) == "reno"
