"""Peers that vanish silently, on a real network: packets are dropped between two kernels (docs/contract.rst, "Loss").

::

    this test -- veth -- the way (forwards, or drops) -- veth -- the agent

The way is a namespace of its own: a packet that is dropped where it is sent is an error to its sender, which no peer
that has vanished is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.kit import peer as peers
from tests.kit.agents import TOKEN, AgentProcess, agent_process
from tests.kit.peer import ISTREAM, Peer
from tests.kit.transfers import eventually, upload

_log = logging.getLogger(__name__)

#: docs/contract.rst, "Loss".
NOTICED_S: Final = 60.0
#: More than all socket buffers on the way hold.
MUCH: Final = 48 * 1024 * 1024


def missing() -> str:
    """Return why no network can be made here; empty if it can."""
    if os.geteuid() != 0:
        return "needs root"
    if not all(map(shutil.which, ("ip", "nft", "ss"))):
        return "needs the Debian packages iproute2 and nftables"
    probe = subprocess.run(["unshare", "--net", "nft", "list", "ruleset"], capture_output=True, text=True, check=False)
    return f"no namespaces with nftables here: {probe.stderr.strip()}" if probe.returncode else ""


_missing = missing()
pytestmark = pytest.mark.skipif(bool(_missing), reason=_missing)


def run(*command: str, text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class Way:
    """A network between two kernels; ``here`` and ``there`` are the addresses of its ends."""

    def __init__(self) -> None:
        pid = os.getpid()
        self.middle, self.agents, self._interface = f"pa-way-{pid}", f"pa-agent-{pid}", f"pa{pid}"
        block = (198 << 24) + (18 << 16) + pid % 16_384 * 8  # RFC 2544's network, eight addresses for each process
        self.here, self._near, self._far, self.there = (
            ".".join(str(byte) for byte in (block + last).to_bytes(4, "big")) for last in (1, 2, 5, 6)
        )
        self._network = ".".join(str(byte) for byte in (block + 4).to_bytes(4, "big"))

    def make(self) -> None:
        near, near_peer, far, far_peer = (self._interface + end for end in ("", "b", "c", "d"))
        run("ip", "-batch", "-", text=f"""
            netns add {self.middle}
            netns add {self.agents}
            link add {near} type veth peer name {near_peer} netns {self.middle}
            link add {far} netns {self.middle} type veth peer name {far_peer} netns {self.agents}
            address add {self.here}/30 dev {near}
            link set {near} up
            route add {self._network}/30 via {self._near}
        """)  # fmt: skip
        run("ip", "-n", self.middle, "-batch", "-", text=f"""
            address add {self._near}/30 dev {near_peer}
            address add {self._far}/30 dev {far}
            link set {near_peer} up
            link set {far} up
        """)  # fmt: skip
        run("ip", "-n", self.agents, "-batch", "-", text=f"""
            address add {self.there}/30 dev {far_peer}
            link set lo up
            link set {far_peer} up
            route add default via {self._far}
        """)  # fmt: skip
        self._in_the_middle("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        self._in_the_middle("nft", "add table ip way")
        self._in_the_middle("nft", "add chain ip way forward { type filter hook forward priority 0; }")

    def lose(self, port: int) -> None:
        """Drop all packets from and to this port of this end, from now on."""
        self._in_the_middle("nft", f"add rule ip way forward ip saddr {self.here} tcp sport {port} drop")
        self._in_the_middle("nft", f"add rule ip way forward ip daddr {self.here} tcp dport {port} drop")

    def probes(self, port: int) -> int:
        """Return how often the agent's kernel has probed the shut window of this port.

        It doubles its wait each time.
        """
        command = ("ip", "netns", "exec", self.agents, "ss", "-tnoiH", "dport", "=", f":{port}")
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        doubled = re.search(r"timer:\(persist.*backoff:(\d+)", output, re.DOTALL)
        return int(doubled[1]) if doubled else 0

    def kill_sockets(self, port: int) -> bool:
        """Let the agent's kernel abort its connections to this port; return False if it cannot."""
        command = ("ip", "netns", "exec", self.agents, "ss", "-KtnH", "dport", "=", f":{port}")
        return bool(subprocess.run(command, capture_output=True, check=False).stdout)

    def _in_the_middle(self, *command: str) -> None:
        run("ip", "netns", "exec", self.middle, *command)

    def remove(self) -> None:
        for what in (("netns", self.agents), ("netns", self.middle), ("link", self._interface)):
            subprocess.run(["ip", what[0], "delete", what[1]], capture_output=True, check=False)


@pytest.fixture
def way() -> Iterator[Way]:
    made = Way()
    try:
        made.make()
        yield made
    finally:
        made.remove()


@asynccontextmanager
async def far_agent(way: Way, root: Path, *arguments: str) -> AsyncIterator[AgentProcess]:
    async with agent_process(
        root, "--set", f"server.interface={way.there!r}", *arguments, within=("ip", "netns", "exec", way.agents)
    ) as agent:
        yield agent


@asynccontextmanager
async def dialled_in(way: Way, agent: AgentProcess) -> AsyncIterator[Peer]:
    """A peer that sends no pings; its close is not awaited at the end."""
    async with peers.dial(agent.ports["rpc"], TOKEN, host=way.there, ping_interval=None) as peer:
        try:
            yield peer
        finally:
            peer.socket.transport.abort()


async def new_job(peer: Peer) -> tuple[str, int]:
    """Start a job; return its uid, and the pid of its process."""
    job = (await peer.call("job_create"))["uid"]
    info = await peer.call("job_start", job, ["sleep", "600"], {}, port_expected_count=0)
    return job, info["pid"]


async def read_nothing(way: Way, peer: Peer, job: str) -> int:
    """Request a file and do not read it, while the peer's kernel still answers; return the call."""
    await upload(peer, job, "much", bytes(MUCH))
    peer.socket.transport.pause_reading()
    call = await peer.start(ISTREAM, "file_download", job, "much")
    await eventually(lambda: way.probes(here(peer)) > 0)
    return call


def here(peer: Peer) -> int:
    """Return the port of this end."""
    port: int = peer.socket.local_address[1]
    return port


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def gone(pid: int, what: str) -> None:
    """Wait until the agent has ended this process; TimeoutError after the limit."""
    clock = asyncio.get_running_loop().time
    began = clock()
    async with asyncio.timeout(NOTICED_S):
        while exists(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    _log.info("%s: noticed after %.1f s", what, clock() - began)


def deaths(agent: AgentProcess) -> list[str]:
    return [line for line in agent.log if re.search(r"links: link .* the peer is gone", line)]


async def test_a_peer_that_vanishes_is_noticed_in_both_roles_and_a_slow_one_is_not_taken_for_dead(
    way: Way, tmp_path: Path
) -> None:
    """Of the lost links one is idle, and one has been full for a while. That of the slow peer is full."""
    async with peers.listen(host=way.here) as listener:
        address = f"ws://{way.here}:{listener.port}"
        options = ("--set", "client.enabled=True", "--set", f"client.address={address!r}")
        async with far_agent(way, tmp_path, *options) as agent, dialled_in(way, agent) as idle:
            full = await listener.accepted()
            try:
                async with dialled_in(way, agent) as slow:
                    _, of_idle = await new_job(idle)
                    job, of_full = await new_job(full)
                    slow_job, of_slow = await new_job(slow)
                    call = await read_nothing(way, slow, slow_job)
                    await read_nothing(way, full, job)
                    # By now its kernel is asked so seldom that six vain probes would take more than three minutes.
                    await eventually(lambda: way.probes(here(full)) >= 4)
                    way.lose(here(idle))
                    way.lose(listener.port)
                    await asyncio.gather(gone(of_idle, "the idle link"), gone(of_full, "the full link"))
                    await eventually(lambda: len(deaths(agent)) == 2)  # the log is read from a pipe
                    assert exists(of_slow)
                    slow.socket.transport.resume_reading()
                    values, result = await slow.outcome(call)
                    assert sum(map(len, values[1:])) == result == MUCH
                    assert len(deaths(agent)) == 2
            finally:
                full.socket.transport.abort()


async def test_a_socket_that_the_agents_kernel_kills_ends_the_links_jobs_in_both_roles(
    way: Way, tmp_path: Path
) -> None:
    async with peers.listen(host=way.here) as listener:
        address = f"ws://{way.here}:{listener.port}"
        options = ("--set", "client.enabled=True", "--set", f"client.address={address!r}")
        async with far_agent(way, tmp_path, *options) as agent, dialled_in(way, agent) as accepted:
            dialled = await listener.accepted()
            jobs = [(await new_job(peer))[1] for peer in (accepted, dialled)]
            for peer in (accepted, dialled):
                if not way.kill_sockets(here(peer)):
                    pytest.skip("needs a kernel that kills sockets (CONFIG_INET_DIAG_DESTROY)")
            await eventually(lambda: not any(map(exists, jobs)))
            again = await listener.accepted()
            assert await again.call("job_count_current_connection") == 0
            again.socket.transport.abort()
