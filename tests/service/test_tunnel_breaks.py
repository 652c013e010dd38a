"""A tunnel that breaks is reset on the other side, so that a read raises; it is never ended with b""."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pagent.agent import Agent
from pagent.client.agent import AgentClient, connect_agent
from pagent.client.job import RemoteJob
from pagent.config.model import ServerSettings, ServerTls, Settings
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, agent_process, running_agent
from tests.kit.peer import BISTREAM, PATIENCE_S, Peer

END = b""


class End:
    """One end of a connection, in the test's hands."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end

    async def read(self, size: int = 1 << 16) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.get_running_loop().sock_recv(self.socket, size)

    async def write(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    async def is_reset(self) -> bool:
        """Whether it reads a reset; AssertionError for an end, or for data."""
        try:
            assert await self.read() == "a reset"
        except ConnectionResetError:
            return True
        return False


@asynccontextmanager
async def listening(host: str = "127.0.0.1") -> AsyncIterator[socket.socket]:
    """A socket that a job would listen on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.setblocking(False)
        yield listener


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


async def accepted(listener: socket.socket) -> End:
    async with asyncio.timeout(PATIENCE_S):
        return End((await asyncio.get_running_loop().sock_accept(listener))[0])


async def a_job(client: AgentClient, listener: socket.socket) -> RemoteJob:
    """A job whose port the test serves."""
    job = await client.create_job()
    await job.start(["sleep", "60"], port=port_of(listener), port_expected_count=0)
    return job


class Tunnel:
    """A connection to a local port, carried to the job: ``near`` and ``far`` are its two ends."""

    def __init__(self, client: AgentClient, near: End, far: End) -> None:
        self.client = client
        self.near = near
        self.far = far


@asynccontextmanager
async def tunnel(address: str, **options: ssl.SSLContext) -> AsyncIterator[Tunnel]:
    async with listening() as listener, connect_agent(address, token=TOKEN, **options) as client:
        server = await (await a_job(client, listener)).forward()
        try:
            with socket.create_connection(server.sockets[0].getsockname()) as near:
                ends = End(near)
                far = await accepted(listener)
                with far.socket:
                    for one, other in ((ends, far), (far, ends)):
                        await one.write(b"data")
                        assert await other.read() == b"data"
                    yield Tunnel(client, ends, far)
        finally:
            server.close()


def address_of(agent: Agent) -> str:
    return f"127.0.0.1:{agent.rpc_port}"


async def test_each_direction_ends_cleanly(agent: Agent) -> None:
    async with tunnel(address_of(agent)) as both:
        both.near.end()
        assert await both.far.read() == END
        await both.far.write(b"more")
        assert await both.near.read() == b"more"
        both.far.end()
        assert await both.near.read() == END


async def test_a_reset_by_the_job_resets_the_client(agent: Agent) -> None:
    async with tunnel(address_of(agent)) as both:
        both.far.reset()
        assert await both.near.is_reset()


async def test_a_reset_by_the_client_resets_the_job(agent: Agent) -> None:
    async with tunnel(address_of(agent)) as both:
        both.near.reset()
        assert await both.far.is_reset()


async def test_a_reset_in_one_direction_after_the_other_has_ended(agent: Agent) -> None:
    async with tunnel(address_of(agent)) as both:
        both.near.end()
        assert await both.far.read() == END
        both.far.reset()
        assert await both.near.is_reset()


async def test_a_reset_by_a_client_after_the_end_was_received(agent: Agent) -> None:
    async with tunnel(address_of(agent)) as both:
        both.far.end()
        assert await both.near.read() == END
        both.near.reset()
        assert await both.far.is_reset()


#: The events that break the link.
BREAKS: dict[str, Callable[[Agent, Tunnel], None]] = {
    "the client's": lambda agent, both: both.client.link.link.abort("the test"),
    "the agent's": lambda agent, both: next(iter(agent.links.open)).link.abort("the test"),
    "a close": lambda agent, both: both.client.link.link.close(),
}


@pytest.mark.parametrize("what", BREAKS)
async def test_a_link_that_is_lost_resets_both_ends(agent: Agent, what: str) -> None:
    async with tunnel(address_of(agent)) as both:
        BREAKS[what](agent, both)
        assert await both.near.is_reset()
        assert await both.far.is_reset()


@pytest.mark.parametrize("what", BREAKS)
async def test_a_tunnel_over_tls(settings: Settings, certificate: tuple[Path, Path], what: str) -> None:
    made, key = certificate
    tls = ServerSettings(accept_tokens=(TOKEN,), tls=ServerTls(certificate=made, key=key))
    async with running_agent(replace(settings, server=tls)) as agent:
        trust = ssl.create_default_context(cafile=str(made))
        async with tunnel(f"wss://localhost:{agent.rpc_port}", tls=trust) as both:
            BREAKS[what](agent, both)
            assert await both.near.is_reset()
            assert await both.far.is_reset()


async def test_an_agent_that_is_killed_resets_both_ends(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, tunnel(f"127.0.0.1:{agent.ports['rpc']}") as both:
        agent.signal(signal.SIGKILL)
        assert await both.near.is_reset()
        assert await both.far.is_reset()


async def test_a_tunnel_to_a_closed_port(agent: Agent) -> None:
    async with connect_agent(address_of(agent), token=TOKEN) as client:
        async with listening() as listener:
            job = await a_job(client, listener)
        server = await job.forward()
        try:
            with socket.create_connection(server.sockets[0].getsockname()) as near:
                assert await End(near).is_reset()
        finally:
            server.close()


async def test_leaving_the_block_early_resets_the_job(agent: Agent) -> None:
    async with listening() as listener, connect_agent(address_of(agent), token=TOKEN) as client:
        job = await a_job(client, listener)
        async with job.open_tcp() as tcp:
            far = await accepted(listener)
            await tcp.send(b"half of it")
            assert await far.read() == b"half of it"
        with far.socket:
            assert await far.is_reset()


async def test_leaving_the_block_after_both_ends_loses_no_data(agent: Agent) -> None:
    size = 8 << 20
    async with listening() as listener, connect_agent(address_of(agent), token=TOKEN) as client:
        job = await a_job(client, listener)
        received = bytearray()

        async def read_late(far: End) -> None:
            await asyncio.sleep(0.1)  # until then the agent holds the rest
            while data := await far.read():
                received.extend(data)

        async with job.open_tcp() as tcp:
            far = await accepted(listener)
            far.end()
            assert await tcp.receive() == END
            reading = asyncio.ensure_future(read_late(far))
            await tcp.send(bytes(size))
            await tcp.end()
        await reading
        far.socket.close()
        assert len(received) == size


async def test_a_call_that_is_cancelled_resets_the_job(peer: Peer) -> None:
    async with listening() as listener:
        job = (await peer.call("job_create"))["uid"]
        await peer.call("job_start", job, ["sleep", "60"], {}, port=port_of(listener), port_expected_count=0)
        call = await peer.start(BISTREAM, "tcp_connect", job)
        far = await accepted(listener)
        with far.socket:
            await peer.cancel(call)
            assert await far.is_reset()


async def test_a_job_that_listens_on_the_loopback_of_ipv6_only(agent: Agent) -> None:
    async with (
        listening("::1") as listener,
        connect_agent(address_of(agent), token=TOKEN) as client,
        peers.dial(agent.rpc_port, TOKEN) as peer,
    ):
        job = await a_job(client, listener)
        async with job.open_tcp() as tcp:
            far = await accepted(listener)
            await far.write(b"hello")
            assert await tcp.receive() == b"hello"
            far.socket.close()
        answer = asyncio.ensure_future(peer.http(job.uid))
        far = await accepted(listener)
        assert (await far.read()).startswith(b"GET / HTTP/1.1")
        await far.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await answer)[0] == 204
        far.socket.close()
