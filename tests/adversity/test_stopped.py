"""Jobs and routers whose process is stopped (SIGSTOP) in the middle of work (docs/contract.rst, "Streams", "End").

A stopped process is the worst peer that is still there: its kernel accepts connections, takes what fits into its
buffers and answers probes, but the program does not read. Where the moment matters, the program stops itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pagent.agent import Agent
from pagent.config.model import Settings
from pagent.limits import LINK_HIGH_WATER, PORT_HIGH_WATER
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, agent_process, running_agent
from tests.kit.peer import BISTREAM, PATIENCE_S, UNARY, CallFailed, Peer
from tests.kit.programs import ECHO, serving, start_program
from tests.kit.transfers import eventually

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, to find stopped processes")

MIB = 1 << 20


def state(pid: int) -> str:
    """Return the state letter of a process; empty if there is no such process."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


async def stopped(pid: int) -> None:
    await eventually(lambda: state(pid) == "T")


async def stop(peer: Peer, job: str) -> int:
    """Stop a job's process; return its pid."""
    pid: int = (await peer.call("job_info", job))["pid"]
    os.kill(pid, signal.SIGSTOP)
    await stopped(pid)
    return pid


async def check_link_works(peer: Peer, page: str) -> None:
    """Check that other calls and streams of the link work."""
    for _ in range(5):
        status, _, body = await peer.http(page, "POST", "/", body=[b"quick"])
        assert status == 200
        assert b"".join(body).endswith(b"quick")
    assert (await peer.call("job_info", page))["state"] == "RUNNING"


# --- streams of a stopped job -----------------------------------------------------------------------------

#: Stops itself in the middle of its answer.
STOPS_WHILE_READ = serving("""
import signal
async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2097152\\r\\n\\r\\n" + b"a" * 1048576)
    await writer.drain()
    os.kill(os.getpid(), signal.SIGSTOP)
    writer.write(b"b" * 1048576)
    await writer.drain()
""")

#: Stops itself after the first bytes that it gets; reports the received bytes at its end.
STOPS_WHILE_WRITTEN_TO = serving("""
import hashlib, signal
async def serve(reader, writer):
    digest = hashlib.sha256(await reader.readexactly(1))
    os.kill(os.getpid(), signal.SIGSTOP)
    while data := await reader.read(1 << 20):
        digest.update(data)
    writer.write(digest.hexdigest().encode())
    writer.close()
""")


async def test_a_job_that_is_stopped_while_it_is_read_from(peer: Peer) -> None:
    job, page = await start_program(peer, STOPS_WHILE_READ), await start_program(peer, ECHO)
    call = await peer.start(BISTREAM, "http_request", job, "GET", "/", [], [])
    await peer.data(call, b"")
    assert (await peer.next_of(call))[2] == 200
    pid = (await peer.call("job_info", job))["pid"]
    await stopped(pid)
    await check_link_works(peer, page)
    os.kill(pid, signal.SIGCONT)
    values, _ = await peer.outcome(call)
    assert b"".join(values[1:]) == b"a" * MIB + b"b" * MIB


async def test_a_job_that_is_stopped_while_it_is_written_to(peer: Peer) -> None:
    job, page = await start_program(peer, STOPS_WHILE_WRITTEN_TO), await start_program(peer, ECHO)
    call = await peer.start(BISTREAM, "tcp_connect", job)
    await peer.data(call, b"x")
    pid = (await peer.call("job_info", job))["pid"]
    await stopped(pid)
    piece = os.urandom(MIB // 4)
    for _ in range(64):  # more than the sockets' buffers and memory hold
        await peer.data(call, piece)
    await peer.data(call, b"")
    await check_link_works(peer, page)
    os.kill(pid, signal.SIGCONT)
    values, _ = await peer.outcome(call)
    assert b"".join(values[1:]).decode() == hashlib.sha256(b"x" + piece * 64).hexdigest()


async def test_a_stopped_job_that_is_connected_to(peer: Peer) -> None:
    job, page = await start_program(peer, ECHO), await start_program(peer, ECHO)
    pid = await stop(peer, job)
    asked = await peer.start(BISTREAM, "http_request", job, "POST", "/", [], [])
    await peer.data(asked, b"in time")
    await peer.data(asked, b"")
    socket = await peer.start(BISTREAM, "ws_connect", job, "/", [], [])
    tunnel = await peer.start(BISTREAM, "tcp_connect", job)
    assert (await peer.next_of(tunnel))[2] is True  # its kernel accepts
    await check_link_works(peer, page)
    for call in (socket, tunnel):
        await peer.cancel(call)
    assert (await peer.call("job_info", job))["state"] == "RUNNING"
    os.kill(pid, signal.SIGCONT)
    values, _ = await peer.outcome(asked)
    assert b"".join(values[2:]).endswith(b"in time")


#: Its kernel accepts one connection and lets the others wait.
NO_BACKLOG = """
import signal, socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen(0)
while True:
    signal.pause()
"""


async def test_a_stopped_job_whose_kernel_accepts_no_more(peer: Peer) -> None:
    job, page = await start_program(peer, NO_BACKLOG), await start_program(peer, ECHO)
    await stop(peer, job)
    taken = await peer.start(BISTREAM, "tcp_connect", job)
    assert (await peer.next_of(taken))[2] is True
    waiting = [await peer.start(BISTREAM, "http_request", job, "GET", "/", [], []) for _ in range(3)]
    for call in waiting:
        await peer.data(call, b"")
    await check_link_works(peer, page)
    await peer.call("job_remove", job)
    for call in waiting:
        assert (await peer.outcome(call))[0] == [502, []]


# --- the port report --------------------------------------------------------------------------------------

#: Reports its port when it continues.
STOPS_BEFORE_ITS_REPORT = """
import os, signal, socket, urllib.request
server = socket.create_server(("127.0.0.1", 0))
os.kill(os.getpid(), signal.SIGSTOP)
where = f"{os.environ['DA__PAGENT__JOB_ENDPOINT']}?job_id={os.environ['DA__PAGENT__JOB_ID']}"
urllib.request.urlopen(f"{where}&port={server.getsockname()[1]}").read()
while True:
    signal.pause()
"""

#: Reports the port of a child, which is stopped by then.
REPORTS_A_STOPPED_CHILD = """
import os, signal, socket, urllib.request
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
if not (child := os.fork()):
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)
server.close()
os.waitpid(child, os.WUNTRACED)
where = f"{os.environ['DA__PAGENT__JOB_ENDPOINT']}?job_id={os.environ['DA__PAGENT__JOB_ID']}"
urllib.request.urlopen(f"{where}&port={port}").read()
while True:
    signal.pause()
"""


@pytest.fixture
async def strict_peer(settings: Settings) -> AsyncIterator[Peer]:
    """A link to an agent that refuses ports of other processes."""
    settings = replace(settings, jobs=replace(settings.jobs, port_ownership="enforce"))
    async with running_agent(settings) as agent, peers.dial(agent.rpc_port, TOKEN) as peer:
        yield peer


async def test_a_job_stopped_before_its_report_delays_no_other(strict_peer: Peer) -> None:
    peer = strict_peer
    late, other = [(await peer.call("job_create"))["uid"] for _ in range(2)]
    call = await peer.start(UNARY, "job_start", late, [sys.executable, "-c", STOPS_BEFORE_ITS_REPORT], {})
    await eventually_stopped(peer, late)
    info = await peer.call("job_start", other, [sys.executable, "-c", REPORTS_A_STOPPED_CHILD], {})
    assert (info["state"], len(info["ports"])) == ("RUNNING", 1)
    waiting = await peer.call("job_info", late)
    assert (waiting["state"], waiting["ports"]) == ("PENDING", [])
    os.kill(waiting["pid"], signal.SIGCONT)
    _, info = await peer.outcome(call)
    assert (info["state"], len(info["ports"])) == ("RUNNING", 1)


async def eventually_stopped(peer: Peer, job: str) -> None:
    """Wait for a job that is being started to stop itself."""
    async with asyncio.timeout(PATIENCE_S):
        while not (pid := (await peer.call("job_info", job))["pid"]):
            pass  # each check is a call
    await stopped(pid)


# --- the end of a stopped job -------------------------------------------------------------------------------

#: A tree of three, each of which stops itself after a line.
STOPPED_TREE = """
import os, signal, sys
if sys.argv[1] == "reports":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if not os.fork():
    os.setsid()
    os.fork()
os.write(1, b"%d\\n" % os.getpid())
while True:
    os.kill(os.getpid(), signal.SIGSTOP)
"""


async def tree_of(peer: Peer, job: str, count: int) -> list[int]:
    """Return the pids of a job's processes, all descendants of the parent of the main one, once there are ``count``."""
    supervisor = psutil.Process((await peer.call("job_info", job))["pid"]).parent()
    assert supervisor is not None
    await eventually(lambda: len(supervisor.children(recursive=True)) == count)
    return [process.pid for process in supervisor.children(recursive=True)]


async def stopped_tree(peer: Peer, answer: str) -> tuple[str, list[int]]:
    """Start a job, and return it and its three processes, all stopped."""
    job = (await peer.call("job_create"))["uid"]
    await peer.call("job_start", job, [sys.executable, "-c", STOPPED_TREE, answer], {}, port_expected_count=0)
    pids = await tree_of(peer, job, 3)
    for pid in pids:
        await stopped(pid)
    return job, pids


async def test_a_stopped_job_gets_its_signal(peer: Peer) -> None:
    job, pids = await stopped_tree(peer, "reports")
    info = await peer.call("job_kill", job, "TERM", grace=PATIENCE_S)
    assert (info["exit_code"], info["signal"]) == (7, None)
    assert not any(map(state, pids))


async def test_a_stopped_job_that_ignores_signals_is_killed(peer: Peer) -> None:
    job, pids = await stopped_tree(peer, "ignores")
    info = await peer.call("job_kill", job, "TERM", grace=0.05)
    assert (info["state"], info["signal"]) == ("FINISHED", "SIGKILL")
    assert not any(map(state, pids))


async def test_a_stopped_job_is_removed_with_the_calls_to_it(peer: Peer, agent: Agent) -> None:
    page = await start_program(peer, ECHO)
    job = await start_program(peer, STOPS_WHILE_READ)
    run = await peer.start(BISTREAM, "job_exec", job, [sys.executable, "-c", STOPPED_TREE, "reports"])
    broken = await peer.start(BISTREAM, "http_request", job, "GET", "/", [], [])
    await peer.data(broken, b"")
    assert (await peer.next_of(broken))[2] == 200
    pids = await tree_of(peer, job, 4)
    for pid in pids:
        await stopped(pid)
    sandbox = next(found.sandbox.path for found in agent.jobs.jobs() if found.uid == job)
    await peer.call("job_remove", job)
    assert not any(map(state, pids))
    assert not sandbox.exists()
    with pytest.raises(CallFailed):
        await peer.outcome(broken)
    with suppress(CallFailed):
        await peer.outcome(run)
    await check_link_works(peer, page)


async def test_the_agent_ends_with_a_stopped_job(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        pid = await stop(peer, await start_program(peer, ECHO))
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0
        assert not state(pid)
    assert os.listdir(tmp_path) == []


#: Reports its port once it gets SIGUSR1, which the test sends while the agent is stopped.
REPORTING = """
import os, signal, time, urllib.request
signal.signal(signal.SIGUSR1, lambda *_: None)
open("waits", "w").close()
signal.pause()
url = os.environ["DA__PAGENT__JOB_ENDPOINT"] + "?job_id=" + os.environ["DA__PAGENT__JOB_ID"] + "&port=4000"
urllib.request.urlopen(url).read()
time.sleep(600)
"""


async def test_a_report_that_came_while_the_agent_was_stopped_is_in_time(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        job = (await peer.call("job_create"))["uid"]
        args = [sys.executable, "-c", REPORTING]
        start = await peer.start(UNARY, "job_start", job, args, {}, ready_timeout=2.0)
        await eventually(lambda: list(tmp_path.rglob("waits")))
        pid = (await peer.call("job_info", job))["pid"]
        agent.signal(signal.SIGSTOP)
        os.kill(pid, signal.SIGUSR1)
        await asyncio.sleep(4)
        agent.signal(signal.SIGCONT)
        assert (await peer.outcome(start))[1]["state"] == "RUNNING"


# --- a stopped router ---------------------------------------------------------------------------------------

#: Answers without an end, and writes to the disk how much it has sent.
ENDLESS = serving("""
total = 0
counter = os.open("sent", os.O_RDWR | os.O_CREAT)
async def serve(reader, writer):
    global total
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()
        total += 65536
        os.pwrite(counter, b"%d" % total, 0)
""")

#: Starts that job, requests several downloads, and stops itself once all have begun.
ROUTER = f"""
import asyncio, os, signal, sys
from tests.kit import peer as peers
from tests.kit.programs import start_program

async def main():
    async with peers.dial(int(sys.argv[1]), {TOKEN!r}, extensions=sys.argv[3:], ping_interval=None) as peer:
        job = await start_program(peer, {ENDLESS!r})
        calls = [await peer.start(peers.BISTREAM, "http_request", job, "GET", "/", [], []) for _ in range(16)]
        for call in calls:
            await peer.data(call, b"")
        for call in calls:
            for _ in range(3):
                await peer.next_of(call)
        print(job, flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
asyncio.run(main())
"""


@asynccontextmanager
async def stopped_router(port: int, *extensions: str) -> AsyncIterator[str]:
    """A router process that has stopped in the middle of 16 downloads; yields the uid of their job."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ROUTER, str(port), "--", *extensions, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            job = (await process.stdout.readline()).decode().strip()
        assert job
        await stopped(process.pid)
        yield job
    finally:
        process.kill()
        await process.wait()


def find(root: Path, job: str) -> list[Path]:
    """Return the file of the count of a job."""
    return list(root.glob(f"**/{job}/sent"))


def peak_bytes(pid: int) -> int:
    """Return the peak memory of a process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize("extensions", [[], ["flow"]])
@pytest.mark.slow
async def test_a_stopped_router_takes_no_memory_and_delays_no_other_link(tmp_path: Path, extensions: list[str]) -> None:
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        page = await start_program(peer, ECHO)
        before = peak_bytes(agent.process.pid)
        async with stopped_router(agent.ports["rpc"], *extensions) as job:
            (counter,) = find(tmp_path, job)
            sent, unchanged = b"", 0
            while unchanged < 10:  # until all buffers on the way are full
                await check_link_works(peer, page)
                assert peak_bytes(agent.process.pid) - before < 16 * 4 * PORT_HIGH_WATER + 8 * LINK_HIGH_WATER
                unchanged = unchanged + 1 if counter.read_bytes() == sent else 0
                sent = counter.read_bytes()
            pid = next(info["pid"] for info in await peer.call("job_list") if info["uid"] == job)
        await eventually(lambda: not state(pid))
        await check_link_works(peer, page)


async def test_a_stopped_router_is_dead_after_some_time(
    agent: Agent, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernel still answers, so the silence decides. The limits are shorter here than usual."""
    monkeypatch.setattr("pagent.net.link.liveness.PING_INTERVAL_S", 0.05)
    async with peers.dial(agent.rpc_port, TOKEN) as lively:
        page = await start_program(lively, ECHO)
        async with stopped_router(agent.rpc_port) as job:
            (of_the_dead,) = [found for found in agent.jobs.jobs() if found.uid == job]
            pid = of_the_dead.pid
            assert pid is not None
            monkeypatch.setattr("pagent.net.link.liveness.SILENCE_MAX_S", 1.0)
            await eventually(lambda: not state(pid))
            await eventually(lambda: job not in [found.uid for found in agent.jobs.jobs()])
            await check_link_works(lively, page)
