"""The promises of "End": signals end everything in order, and the next start removes the rest of a killed agent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgpack
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.jobs.conftest import gone, is_alive
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, agent_process
from tests.kit.peer import ISTREAM, SUBPROTOCOL, UNARY, CallFailed, Peer, user_data
from tests.kit.programs import ECHO, start_program

#: Prints its pid and that of a child in a new session that has no environment; both ignore all signals but KILL.
STUBBORN = """
import os, signal, sys
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
child = os.fork()
if child == 0:
    os.setsid()
    os.execve("/bin/sleep", ["sleep", "1000"], {})
sys.stdout.write(f"{os.getpid()} {child}\\n")
sys.stdout.flush()
signal.pause()
"""


async def start(peer: Peer, script: str) -> list[int]:
    """Start a job that runs a script; return the pids in its first line."""
    job = (await peer.call("job_create"))["uid"]
    await peer.call("job_start", job, [sys.executable, "-c", script], None, None, 0)
    logs = await peer.start(ISTREAM, "job_logs", job, follow=True)
    text = b""
    while b"\n" not in text:
        text += (await peer.next_of(logs))[2]
    await peer.cancel(logs)
    return [int(pid) for pid in text.split()]


NOTIFIED = """
import os, signal, sys
def notified(number, frame):
    open(sys.argv[1], "w").write("notified")
    sys.exit(0)
signal.signal(signal.SIGTERM, notified)
sys.stdout.write(f"{os.getpid()}\\n")
sys.stdout.flush()
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_jobs_links_and_sandboxes(tmp_path: Path, number: signal.Signals) -> None:
    root = tmp_path / "jobs"
    root.mkdir()
    witness = tmp_path / "witness"
    async with agent_process(root) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        pids = await start(peer, NOTIFIED.replace("sys.argv[1]", repr(str(witness))))
        await start_program(peer, ECHO)
        agent.signal(number)
        assert await agent.ended() == 0
        await peer.socket.wait_closed()
        assert peer.socket.close_code == 1001
        assert not any(map(is_alive, pids))
    assert witness.read_text() == "notified"  # it had its grace period
    assert os.listdir(root) == []


async def test_a_second_signal_ends_the_grace(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        pids = await start(peer, STUBBORN)
        agent.signal(signal.SIGTERM)
        await refuses_jobs(peer)
        assert is_alive(pids[0])
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0
        assert not any(map(is_alive, pids))
    assert os.listdir(tmp_path) == []


async def refuses_jobs(peer: Peer) -> None:
    """Wait until the ending agent takes no new jobs."""
    while True:
        try:
            await peer.call("job_create")
        except CallFailed as error:
            assert error.cause == "JobInvalidStateError"  # noqa: PT017 - until there is one
            return


async def test_an_agent_that_ends_takes_no_more_links(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        await start(peer, STUBBORN)
        agent.signal(signal.SIGTERM)
        await refuses_jobs(peer)
        with pytest.raises(InvalidStatus, match="503"):
            async with peers.dial(agent.ports["rpc"], TOKEN):
                pytest.fail("it was taken")
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0


async def test_a_link_whose_handshake_comes_while_the_agent_ends(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        await start(peer, STUBBORN)
        url = f"ws://127.0.0.1:{agent.ports['rpc']}/rpc/v1"
        async with connect(url, subprotocols=[SUBPROTOCOL], compression=None) as late:
            agent.signal(signal.SIGTERM)
            await refuses_jobs(peer)
            await late.send(msgpack.packb([1, 1, [1, None, user_data(token=TOKEN)]]))
            await late.wait_closed()
            assert late.close_code == 1001
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0


async def test_stubborn_jobs_are_killed_after_their_grace(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        pids = await start(peer, STUBBORN)
        agent.signal(signal.SIGTERM)
        await refuses_jobs(peer)
        assert await agent.ended() == 0
        assert not any(map(is_alive, pids))
    assert os.listdir(tmp_path) == []


async def test_shutdown_by_the_control_api(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        await start_program(peer, ECHO)
        reader, writer = await asyncio.open_connection("127.0.0.1", agent.ports["control"])
        writer.write(b"POST /shutdown HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"200"
        assert await agent.ended() == 0
        writer.close()
    assert os.listdir(tmp_path) == []


async def test_calls_under_way_are_notified_of_the_end(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        job = (await peer.call("job_create"))["uid"]
        await peer.call("job_start", job, ["sleep", "1000"], None, None, 0)
        waiting = await peer.start(UNARY, "job_wait", job)
        logs = await peer.start(ISTREAM, "job_logs", job, follow=True)
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0
        for call in (waiting, logs):
            try:
                _, result = await peer.outcome(call)
            except ConnectionError:
                continue  # the close was sent before the result was
            assert result["state"] in ("FINISHED", "CLOSED")


# --- after a kill -------------------------------------------------------------------------------------


async def test_jobs_of_a_killed_agent_end_and_the_next_start_deletes_the_rest(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as living, peers.dial(living.ports["rpc"], TOKEN) as other:
        lives = await start_program(other, ECHO)
        async with agent_process(tmp_path) as killed:
            async with peers.dial(killed.ports["rpc"], TOKEN) as peer:
                witness = tmp_path / "witness"
                pids = await start(peer, NOTIFIED.replace("sys.argv[1]", repr(str(witness))))
                stubborn = await start(peer, STUBBORN)
                killed.signal(signal.SIGKILL)
                assert await killed.ended() == -9
            for pid in pids:
                await gone(pid)
            assert witness.read_text() == "notified"  # it had its grace period
            witness.unlink()
            assert all(map(is_alive, stubborn))
            assert len(os.listdir(tmp_path)) == 2
            async with agent_process(tmp_path) as following:
                assert await following.says(r"cleaned up after a dead agent: \S+, processes ended: 2")
                for pid in stubborn:
                    await gone(pid)
                assert len(os.listdir(tmp_path)) == 2
                # Another agent's jobs still run.
                assert (await other.http(lives))[0] == 200
                following.signal(signal.SIGTERM)
                assert await following.ended() == 0
        living.signal(signal.SIGTERM)
        assert await living.ended() == 0
    assert os.listdir(tmp_path) == []


async def test_a_kill_in_the_middle_of_a_removal(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as killed:
        async with peers.dial(killed.ports["rpc"], TOKEN) as peer:
            pids = await start(peer, STUBBORN)
            killed.signal(signal.SIGTERM)
            await refuses_jobs(peer)
            killed.signal(signal.SIGKILL)
            assert await killed.ended() == -9
        async with agent_process(tmp_path) as following:
            for pid in pids:
                await gone(pid)
            following.signal(signal.SIGTERM)
            assert await following.ended() == 0
    assert os.listdir(tmp_path) == []
