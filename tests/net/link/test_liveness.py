"""Options of the kernel for the socket of a link, and the kernel's reports about it."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from contextlib import closing

import pytest

from pagent.buffers import Bytes
from pagent.errors import LinkClosedError
from pagent.limits import RETRANSMIT_WAIT_MAX_S, SILENCE_MAX_S
from pagent.net.link import liveness
from pagent.net.link.link import Link
from pagent.runtime.silence import STALL_S
from tests.kit.joined import MemoryTransport
from tests.kit.peer import PATIENCE_S
from tests.kit.stepped import SteppedLoop

#: linux/tcp.h
TCP_RTO_MAX_MS = 44


class IdleOwner:
    """An owner of a link without messages."""

    def link_message(self, payload: Bytes) -> None:
        pass

    def link_blocked(self) -> None:
        pass

    def link_writable(self) -> None:
        pass

    def link_lost(self, error: LinkClosedError) -> None:
        pass


def rto_max_s(transport: asyncio.BaseTransport) -> float:
    """Return the longest time between two retransmissions or probes of a socket."""
    sock = socket.socket(fileno=transport.get_extra_info("socket").fileno())
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS) / 1000
    finally:
        sock.detach()


def missing() -> str:
    """Return why the option is missing; empty if it exists."""
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
@pytest.mark.parametrize("dialled", [False, True])
async def test_the_kernel_probes_a_silent_peer_often_in_both_roles(dialled: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as sock:
        link = Link(IdleOwner(), dialled=dialled)
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: link, sock=sock)
        assert rto_max_s(transport) == RETRANSMIT_WAIT_MAX_S
        link.abort("the test is over")
        await link.closed


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
async def test_a_kernel_without_the_option_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "_RTO_MAX_MS", 999)  # ENOPROTOOPT, as from older kernels
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    try:
        liveness.limit_retransmit_wait(transport)
        assert liveness.unanswered_segments(transport) == 0
        assert not transport.is_closing()
    finally:
        transport.abort()
        server.close()


class Counter:
    """The bytes that a link has received."""

    received_bytes = 0


async def test_a_stall_of_this_process_is_no_silence_of_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PING_INTERVAL_S", 0.1)
    monkeypatch.setattr(liveness, "SILENCE_MAX_S", 0.5)
    monkeypatch.setattr(liveness, "UNANSWERED_MAX_S", 0.5)
    monkeypatch.setattr(liveness, "unanswered_segments", lambda transport: 1)
    loop = asyncio.get_running_loop()
    dead = loop.create_future()
    events: list[str] = []
    dead.add_done_callback(lambda _: events.append("dead"))
    transport = MemoryTransport(Link(IdleOwner(), dialled=False))
    checked = liveness.Liveness(transport, Counter(), lambda: events.append("ping"), dead.set_result)
    loop.call_soon(time.sleep, STALL_S + 0.3)
    async with asyncio.timeout(PATIENCE_S):
        assert await dead
    assert events[0] == "ping"
    checked.stop()


def test_on_a_loop_that_is_always_late_a_silent_peer_is_dead_in_time() -> None:
    dead: list[str] = []
    with closing(SteppedLoop()) as loop:

        async def watch() -> liveness.Liveness:
            transport = MemoryTransport(Link(IdleOwner(), dialled=False))
            return liveness.Liveness(transport, Counter(), lambda: None, dead.append)

        loop.run_until_complete(watch())
        began = loop.time()
        while not dead:
            loop.pass_time(3.5)  # no whole part of the interval, so that each timer is late
            assert loop.time() - began < 2 * SILENCE_MAX_S
        assert loop.time() - began > SILENCE_MAX_S


async def test_a_link_without_a_socket_works() -> None:
    transport = MemoryTransport(Link(IdleOwner(), dialled=False))
    liveness.limit_retransmit_wait(transport)
    assert liveness.unanswered_segments(transport) == 0
