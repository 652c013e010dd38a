"""Whose a reported port is, end to end: secrets, other jobs, other users, two agents."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.config.model import Settings
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, agent_process, running_agent
from tests.kit.peer import PATIENCE_S, CallFailed, Peer
from tests.kit.transfers import eventually

PYTHON = sys.executable
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc/net/tcp")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to run as root")
UNPRIVILEGED_UID = 65534

#: Reports the port that its argument names, prints the answer, then waits.
REPORTS = """
import os, signal, sys, urllib.error, urllib.request
where = f"{os.environ['DA__PAGENT__JOB_ENDPOINT']}?job_id={os.environ['DA__PAGENT__JOB_ID']}&port={sys.argv[1]}"
try:
    with urllib.request.urlopen(where) as answer:
        print(answer.status, answer.read().decode(), flush=True)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode(), flush=True)
signal.pause()
"""

#: Listens, as the user that its first argument names, on an address, and prints the port.
LISTENS = """
import os, signal, socket, sys
if sys.argv[1] != "-":
    os.setuid(int(sys.argv[1]))
host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
print(listening.getsockname()[1], flush=True)
signal.pause()
"""


async def new_job(peer: Peer) -> str:
    return str((await peer.call("job_create"))["uid"])


async def first_line(peer: Peer, job: str) -> str:
    call = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    text = await line(peer, call)
    await peer.cancel(call)
    return text.split(b"\n")[0].decode()


async def line(peer: Peer, call: int) -> bytes:
    text = b""
    while not text.endswith(b"\n"):
        message = await peer.next_of(call)
        assert message[0] == 8, message
        text += message[2]
    return text


async def answer_to(peer: Peer, port: int) -> str:
    """Return the answer to a job that reports the port."""
    job = await new_job(peer)
    start = await peer.start(peers.UNARY, "job_start", job, [PYTHON, "-c", REPORTS, str(port)], None)
    line = await first_line(peer, job)
    if not line.startswith("200"):
        assert (await peer.call("job_info", job))["state"] == "PENDING"
        await peer.cancel(start)
    else:
        assert (await peer.outcome(start))[1]["ports"] == [port]
    await peer.call("job_remove", job)
    return line


@asynccontextmanager
async def listening(*arguments: str) -> AsyncIterator[int]:
    """The port of a process that is no job's."""
    process = await asyncio.create_subprocess_exec(PYTHON, "-c", LISTENS, *arguments, stdout=subprocess.PIPE, cwd="/")
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def listening_job(peer: Peer, *arguments: str) -> tuple[str, int]:
    job = await new_job(peer)
    await peer.call("job_start", job, [PYTHON, "-c", LISTENS, *(arguments or ["-"])], None, None, 0)
    return job, int(await first_line(peer, job))


# --- the secret -------------------------------------------------------------------------------------


async def test_the_id_is_a_secret_of_each_start(peer: Peer, agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    found = []
    for _ in range(2):
        job = await new_job(peer)
        script = 'echo "$DA__PAGENT__JOB_ID $DA__PAGENT__JOB_UID"; exec sleep 1000'
        start = await peer.start(peers.UNARY, "job_start", job, ["sh", "-c", script], None)
        secret, uid = (await first_line(peer, job)).split()
        assert uid == job
        assert len(secret) >= 32
        assert secret not in repr(await peer.call("job_info", job))
        assert secret not in repr(list(agent.list_jobs()))
        assert secret not in caplog.text
        await peer.call("job_remove", job)
        with pytest.raises(CallFailed) as failed:
            await peer.outcome(start)
        assert secret not in str(failed.value)
        found.append(secret)
    assert found[0] != found[1]


async def test_the_uid_is_no_id(peer: Peer, agent: Agent) -> None:
    job = await new_job(peer)
    start = await peer.start(peers.UNARY, "job_start", job, ["sleep", "1000"], None)
    await peer.call("job_count_current_connection")  # after it the start has begun
    with pytest.raises(Exception, match="unknown job"):
        await agent.jobs.report_port([("job_id", job), ("port", "80")])
    for wrong in ("", "ü", "\ud800", job.upper(), "0" * 32):
        with pytest.raises(Exception, match="unknown job"):
            await agent.jobs.report_port([("job_id", wrong), ("port", "80")])
    await peer.cancel(start)


# --- the listener -----------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("policy", ["off", "warn", "enforce"])
async def test_the_port_of_another_job_is_refused(settings: Settings, policy: Any) -> None:
    settings = replace(settings, jobs=replace(settings.jobs, port_ownership=policy))
    async with running_agent(settings) as agent, peers.dial(agent.rpc_port, TOKEN) as peer:
        _, port = await listening_job(peer)
        assert await answer_to(peer, port) == "400 bad port: another job listens on it"
        _, port = await listening_job(peer, "-", "::1")
        assert await answer_to(peer, port) == "400 bad port: another job listens on it"


@linux
async def test_the_port_of_a_process_that_is_no_jobs(settings: Settings) -> None:
    for policy, answer in (("warn", "200 OK"), ("enforce", "400 bad port: no process of the job listens on it")):
        changed = replace(settings, jobs=replace(settings.jobs, port_ownership=policy))
        async with running_agent(changed) as agent, peers.dial(agent.rpc_port, TOKEN) as peer, listening("-") as port:
            assert await answer_to(peer, port) == answer


@linux
@as_root
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
async def test_the_port_of_another_user_is_refused(peer: Peer, host: str) -> None:
    async with listening(str(UNPRIVILEGED_UID), host) as port:
        assert await answer_to(peer, port) == "400 bad port: a process of another user listens on it"


@linux
@as_root
async def test_a_port_of_root_is_accepted(settings: Settings) -> None:
    changed = replace(settings, jobs=replace(settings.jobs, isolation=replace(settings.jobs.isolation, user="nobody")))
    settings.jobs.root.chmod(0o755) if settings.jobs.root else None
    async with running_agent(changed) as agent, peers.dial(agent.rpc_port, TOKEN) as peer, listening("-") as port:
        job = await new_job(peer)
        command = ["sh", "-c", "echo $DA__PAGENT__JOB_ID > new; mv new id; exec sleep 1000"]
        start = await peer.start(peers.UNARY, "job_start", job, command, None)
        written = Path(agent.jobs.jobs()[0].sandbox.path) / "id"
        await eventually(written.exists)
        await agent.jobs.report_port([("job_id", written.read_text().strip()), ("port", str(port))])
        assert (await peer.outcome(start))[1]["ports"] == [port]


@linux
@as_root
async def test_a_job_that_has_changed_its_user_has_its_port(peer: Peer) -> None:
    listen = LISTENS.replace("os.setuid", "os.seteuid").replace("signal.pause()", "os.seteuid(0)")
    script = listen + REPORTS.replace("sys.argv[1]", "listening.getsockname()[1]")
    job = await new_job(peer)
    info = await peer.call("job_start", job, [PYTHON, "-c", script, str(UNPRIVILEGED_UID)], None)
    assert len(info["ports"]) == 1


@linux
async def test_ready_by_a_foreign_listener_is_not_ready(peer: Peer) -> None:
    _, port = await listening_job(peer)
    job = await new_job(peer)
    with pytest.raises(CallFailed, match=r"ProcessStartTimeoutError.*another job listens on it"):
        await peer.call("job_start", job, ["sleep", "1000"], None, port=port, ready="connect", ready_timeout=3.0)


@linux
async def test_readiness_takes_no_connection_away(peer: Peer) -> None:
    script = """
import os, signal, socket
with socket.create_server(("127.0.0.1", int(os.environ["PORT"]))) as listening:
    connection, _ = listening.accept()
connection.sendall(b"the one answer")
connection.close()
signal.pause()
"""
    job = await new_job(peer)
    info = await peer.call("job_start", job, [PYTHON, "-c", script], None, port="auto", ready="connect")
    await asyncio.sleep(0.2)  # a check that takes the connection would have done so
    with socket.create_connection(("127.0.0.1", info["ports"][0])) as client:
        assert client.recv(100) == b"the one answer"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
async def test_ready_on_each_address(peer: Peer, host: str) -> None:
    family = "AF_INET6" if ":" in host else "AF_INET"
    script = (
        f"import signal, socket, sys; s = socket.create_server(({host!r}, int(sys.argv[1])), family=socket.{family})"
    )
    job = await new_job(peer)
    command = [PYTHON, "-c", script + "; signal.pause()", "{port}"]
    info = await peer.call("job_start", job, command, None, port="auto", ready="connect")
    assert info["state"] == "RUNNING"


# --- a port whose listener is gone ------------------------------------------------------------------

#: Listens and answers each connection with its name, until USR1; listens again after USR2.
ON_AND_OFF = """
import signal, socket, sys, threading
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])
def serve(listening):
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\nConnection: close\\r\\n\\r\\nown")
        connection.close()
while True:
    listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    threading.Thread(target=serve, args=(listening,), daemon=True).start()
    print("on", flush=True)
    signal.sigwait([signal.SIGUSR1])
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    print("off", flush=True)
    signal.sigwait([signal.SIGUSR2])
"""

TAKES = """
import socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("on", flush=True)
while True:
    connection, _ = listening.accept()
    print("reached", flush=True)
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\ntaken")
    connection.close()
"""


@linux
async def test_a_port_that_another_job_has_taken_is_not_used(peer: Peer) -> None:
    job = await new_job(peer)
    info = await peer.call("job_start", job, [PYTHON, "-c", ON_AND_OFF, "{port}"], None, port="auto", ready="connect")
    said = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    assert await line(peer, said) == b"on\n"
    assert (await peer.http(job))[2] == [b"own"]
    await peer.call("job_kill", job, "USR1")
    assert await line(peer, said) == b"off\n"
    assert (await peer.http(job))[0] == 502
    thief = await new_job(peer)
    await peer.call("job_start", thief, [PYTHON, "-c", TAKES, str(info["ports"][0])], None, None, 0)
    heard = await peer.start(peers.ISTREAM, "job_logs", thief, follow=True)
    assert await line(peer, heard) == b"on\n"
    for _ in range(2):
        assert (await peer.http(job))[0] == 502
        tunnel = await peer.start(peers.BISTREAM, "tcp_connect", job)
        with pytest.raises(CallFailed, match=r"ConnectionRefusedError.*another job listens on it"):
            await peer.outcome(tunnel)
    await peer.call("job_kill", thief, "KILL")
    values, _ = await peer.outcome(heard)
    assert values == []
    await peer.call("job_kill", job, "USR2")
    assert await line(peer, said) == b"on\n"
    assert (await peer.http(job))[2] == [b"own"]
    await peer.cancel(said)


@linux
@as_root
async def test_a_port_that_another_user_has_taken_unnoticed_is_not_used(peer: Peer) -> None:
    """No connection was refused in between: the job got no request."""
    job = await new_job(peer)
    info = await peer.call("job_start", job, [PYTHON, "-c", ON_AND_OFF, "{port}"], None, port="auto", ready="connect")
    said = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    assert await line(peer, said) == b"on\n"
    assert (await peer.http(job))[2] == [b"own"]
    await peer.call("job_kill", job, "USR1")
    assert await line(peer, said) == b"off\n"
    async with taken(info["ports"][0]):
        assert (await peer.http(job))[0] == 502
        tunnel = await peer.start(peers.BISTREAM, "tcp_connect", job)
        with pytest.raises(CallFailed, match=r"ConnectionRefusedError.*another user listens on it"):
            await peer.outcome(tunnel)
    await peer.call("job_kill", job, "USR2")
    assert await line(peer, said) == b"on\n"
    assert (await peer.http(job))[2] == [b"own"]
    await peer.cancel(said)


@asynccontextmanager
async def taken(port: int) -> AsyncIterator[None]:
    """Another user's process answers on the port."""
    script = f"import os, socket, sys; os.setuid({UNPRIVILEGED_UID}); {TAKES.strip()}"
    process = await asyncio.create_subprocess_exec(PYTHON, "-c", script, str(port), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"on\n"
        yield
    finally:
        process.kill()
        rest, _ = await process.communicate()
    assert rest == b""


# --- ports that the agent gives ---------------------------------------------------------------------


async def test_parallel_starts_of_two_agents_get_different_ports(tmp_path: Path) -> None:
    """Until a job listens nothing but the agents knows that its port is spoken for."""
    count = 20
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()

    async def start(peer: Peer) -> list[int]:
        job = await new_job(peer)
        info = await peer.call("job_start", job, ["sleep", "1000"], None, None, 0, port="auto")
        ports: list[int] = info["ports"]
        return ports

    async with (
        agent_process(tmp_path / "one") as one,
        agent_process(tmp_path / "two") as two,
        peers.dial(one.ports["rpc"], TOKEN) as first,
        peers.dial(two.ports["rpc"], TOKEN) as second,
    ):
        started = await asyncio.gather(*(start(peer) for _ in range(count) for peer in (first, second)))
    ports = [port for ports in started for port in ports]
    assert len(set(ports)) == 2 * count
