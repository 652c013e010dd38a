"""``pagent report`` in jobs of an older router, and without an agent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import psutil
import pytest

from tests.cli.servers.test_child import until_ended
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, AgentProcess, agent_process
from tests.kit.peer import PATIENCE_S, CallFailed, Peer
from tests.kit.programs import ECHO

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="waits for signals with their senders")

REPORT = [sys.executable, "-m", "pagent", "report", "--"]
ENDPOINT, JOB_ID = "DA__PAGENT__JOB_ENDPOINT", "DA__PAGENT__JOB_ID"

# --- in a job -----------------------------------------------------------------------------------------


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[AgentProcess]:
    async with agent_process(tmp_path) as process:
        yield process


@pytest.fixture
async def peer(agent: AgentProcess) -> AsyncIterator[Peer]:
    """A router without extensions."""
    async with peers.dial(agent.ports["rpc"], TOKEN) as router:
        yield router


async def start(peer: Peer, *command: str) -> str:
    """Start a job as an older router does: it waits for one report."""
    job = str((await peer.call("job_create", "reports"))["uid"])
    await peer.call("job_start", job, [*REPORT, *command], {})
    return job


async def stderr_of(peer: Peer, job: str) -> str:
    call_id = await peer.start(peers.ISTREAM, "file_download", job, ".pagent.stderr")
    values, _ = await peer.outcome(call_id)
    return b"".join(values[1:]).decode()


async def test_a_web_server_of_the_standard_library(peer: Peer) -> None:
    job = await start(peer, sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1")
    assert (await peer.call("job_info", job))["state"] == "RUNNING"
    status, _, body = await peer.http(job)
    assert status == 200
    assert b"Directory listing" in b"".join(body)


WEBSOCKET_ECHO = """
import os
from websockets.sync.server import serve
def echo(socket):
    for message in socket:
        socket.send(message)
with serve(echo, "127.0.0.1", int(os.environ["PORT"])) as server:
    server.serve_forever()
"""


async def test_a_websocket_server_that_reads_PORT(peer: Peer) -> None:
    job = await start(peer, sys.executable, "-c", WEBSOCKET_ECHO)
    call_id = await peer.start(peers.BISTREAM, "ws_connect", job, "/", [], [])
    assert (await peer.next_of(call_id))[2] is True
    await peer.data(call_id, "hello")
    assert (await peer.next_of(call_id))[2] == "hello"
    await peer.end(call_id)
    await peer.outcome(call_id)


#: Serves one connection and ends, so a probe by a connection would end it.
ONE_SHOT = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    connection, _ = server.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\nonce")
    connection.close()
"""


async def test_a_program_that_serves_one_connection(peer: Peer) -> None:
    job = await start(peer, sys.executable, "-c", ONE_SHOT, "{port}")
    assert (await peer.http(job))[::2] == (200, [b"once"])
    assert (await peer.call("job_wait", job))["exit_code"] == 0


async def test_a_router_that_the_agent_has_dialled(tmp_path: Path) -> None:
    async with peers.listen() as router:
        settings = ["--set", "client.enabled=True", "--set", f"client.address='127.0.0.1:{router.port}'"]
        async with agent_process(tmp_path, *settings):
            peer = await router.accepted()
            job = await start(peer, sys.executable, "-c", ECHO, "{port}")
            assert (await peer.http(job))[0] == 200


async def test_the_exit_code_is_that_of_the_command(peer: Peer) -> None:
    job = str((await peer.call("job_create", "ends"))["uid"])
    with pytest.raises(CallFailed) as failed:
        await peer.call("job_start", job, [*REPORT, "sh", "-c", "echo sorry >&2; exit 7"], {})
    assert failed.value.cause == "ProcessExitedError"
    assert (await peer.call("job_info", job))["exit_code"] == 7
    assert "sorry\npagent: the command ended before port " in await stderr_of(peer, job)


#: Exits with the number of TERM signals that it receives within 0.3 s.
COUNTS = """
import asyncio, os, signal, sys
async def main():
    counted = []
    first = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: (counted.append(1), first.set()))
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", int(sys.argv[1])):
        await first.wait()
    await asyncio.sleep(0.3)
    sys.exit(len(counted))
asyncio.run(main())
"""


async def test_an_agent_that_ends_the_job_signals_the_command_once(peer: Peer) -> None:
    job = await start(peer, sys.executable, "-c", COUNTS, "{port}")
    await peer.call("job_kill", job, "TERM", grace=PATIENCE_S)
    assert (await peer.call("job_wait", job))["exit_code"] == 1


async def test_nothing_of_a_removed_job_is_left(peer: Peer) -> None:
    script = f"{sys.executable} -m http.server --bind 127.0.0.1 {{port}} & echo $$ $! >&2; wait"
    job = await start(peer, "sh", "-c", script)
    pids = (await stderr_of(peer, job)).splitlines()[0]
    family = [psutil.Process(int(pid)) for pid in pids.split()]
    await peer.call("job_remove", job)
    for member in family:
        until_ended(member)


# --- without an agent ---------------------------------------------------------------------------------


class Endpoint:
    """Accepts port reports as an agent does, and refuses those of the job id ``unknown``."""

    def __init__(self, port: int) -> None:
        self.env = {ENDPOINT: f"http://127.0.0.1:{port}/job_started", JOB_ID: "a job & its id"}
        self.reports: list[tuple[str, dict[str, str]]] = []
        self.reported = threading.Event()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = urlsplit(self.path)
            query = dict(parse_qsl(target.query, strict_parsing=True))
            known = query["job_id"] != "unknown"
            response = b"OK" if known else b"job 'unknown' is not found\x1b[2J"
            if known:
                found.reports.append((target.path, query))
                found.reported.set()
            self.send_response(200 if known else 400)
            self.send_header("Content-Length", str(len(response)))
            self.end_headers()
            self.wfile.write(response)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        found = Endpoint(server.server_port)
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def report(endpoint: Endpoint, *command: str, **more: str) -> tuple[int, str, str]:
    """Run ``pagent report``; return exit code, stdout and stderr."""
    done = subprocess.run(
        [*REPORT, *command],
        env=os.environ | endpoint.env | more,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


#: Listens on the address in its first argument, prints the others, and waits for a connection.
UNTIL_REPORTED = """
import os, socket, sys, time
address = sys.argv[1]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
server = socket.socket(family)
server.bind((address, int(os.environ["PORT"])))
server.listen()
print(sys.argv[2:], os.environ["PORT"], flush=True)
server.settimeout(0.5)
try:
    server.accept()
    print("a connection")
except TimeoutError:
    pass
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::", "::1"])
def test_it_reports_the_port_once_and_does_not_connect(endpoint: Endpoint, address: str) -> None:
    code, stdout, stderr = report(endpoint, sys.executable, "-c", UNTIL_REPORTED, address, "{port}", "{{port}}")
    assert (code, stderr) == (0, "")
    ((path, query),) = endpoint.reports
    port = query["port"]
    assert (path, query) == ("/job_started", {"job_id": "a job & its id", "port": port})
    assert stdout == f"['{port}', '{{port}}'] {port}\n"


def test_another_port_is_free_and_not_reported(endpoint: Endpoint) -> None:
    command = [
        sys.executable,
        "-c",
        UNTIL_REPORTED,
        "127.0.0.1",
        "{port}",
        "--control={port:control}",
        "{port:control}",
    ]
    code, stdout, _ = report(endpoint, *command)
    assert code == 0
    ((_, query),) = endpoint.reports
    arguments, _, port = stdout.rpartition(" ")
    main, control, again = [word.strip("'[],") for word in arguments.split()]
    assert main == query["port"] == port.strip()
    assert control == f"--control={again}"
    assert again != main
    assert 0 < int(again) < 65536


LISTENS_ON = """
import os, signal, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def end(*_):
    print("received TERM", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
signal.pause()
"""


def test_a_refused_report_ends_the_command_with_the_reason(endpoint: Endpoint) -> None:
    code, stdout, stderr = report(endpoint, sys.executable, "-c", LISTENS_ON, "{port}", **{JOB_ID: "unknown"})
    assert (code, stdout) == (1, "received TERM\n")
    assert "the agent refused it with status 400: job 'unknown' is not found\\x1b[2J" in stderr


def test_an_unreachable_agent_ends_the_command(endpoint: Endpoint) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{held.getsockname()[1]}/job_started"
        code, stdout, stderr = report(endpoint, sys.executable, "-c", LISTENS_ON, "{port}", **{ENDPOINT: nowhere})
    assert (code, stdout) == (1, "received TERM\n")
    assert f"the agent does not respond at {nowhere}: " in stderr
    assert "Traceback" not in stderr


def test_proxies_of_the_environment_are_ignored(endpoint: Endpoint) -> None:
    nowhere = "http://127.0.0.1:9/"
    command = [sys.executable, "-c", UNTIL_REPORTED, "127.0.0.1"]
    assert report(endpoint, *command, http_proxy=nowhere, HTTP_PROXY=nowhere, all_proxy=nowhere)[0] == 0
    assert len(endpoint.reports) == 1


@pytest.mark.parametrize("missing", [ENDPOINT, JOB_ID])
def test_without_an_endpoint_nothing_is_started(endpoint: Endpoint, missing: str) -> None:
    del endpoint.env[missing]
    code, stdout, stderr = report(endpoint, "echo", "started")
    assert (code, stdout) == (1, "")
    assert stderr.startswith(f"pagent: {missing} is not set: ")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["/no/such/program"], 127, "No such file or directory"),
        (["/etc/passwd"], 126, "Permission denied"),
        (["sh", "-c", "kill -TERM $$"], 143, "the command ended before port "),
        (["sh", "-c", "exit 0"], 0, "the command ended before port "),
    ],
)
def test_a_command_that_never_listens(endpoint: Endpoint, command: Sequence[str], code: int, words: str) -> None:
    ended, _, stderr = report(endpoint, *command)
    assert ended == code
    assert words in stderr
    assert endpoint.reports == []


@contextmanager
def reporting(endpoint: Endpoint, *command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*REPORT, *command], env=os.environ | endpoint.env, stdout=-1, stderr=-1, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


NEVER_LISTENS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print("up", flush=True)
signal.pause()
"""


def test_it_prints_what_it_waits_for_and_forwards_signals(endpoint: Endpoint) -> None:
    with reporting(endpoint, sys.executable, "-c", NEVER_LISTENS) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "up\n"
        assert "waiting for the command to listen on 127.0.0.1:" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 5


def test_it_sleeps_while_the_command_runs(endpoint: Endpoint) -> None:
    with reporting(endpoint, sys.executable, "-c", LISTENS_ON, "{port}") as process:
        here = psutil.Process(process.pid)
        endpoint.reported.wait(PATIENCE_S)
        deadline, before = time.monotonic() + PATIENCE_S, -1
        while (now := here.num_ctx_switches().voluntary) != before:
            assert time.monotonic() < deadline, "it wakes up again and again"
            before = now
            time.sleep(0.5)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
