"""``pagent run`` and ``pagent forward`` as processes: traffic, output, exit codes and signals."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import connect

from tests.kit import peer as peers
from tests.kit.agents import TOKEN, agent_process, with_token
from tests.kit.commands import ENDING, INTRODUCTION, environment, get, here_of, pagent, run
from tests.kit.peer import PATIENCE_S
from tests.kit.programs import ECHO, start_program
from tests.kit.remotes import KINDS, RemoteProcess, remote_process
from tests.kit.terminal import on_terminal

SERVER = [sys.executable, "-u", "-m", "http.server", "{port}", "--bind", "127.0.0.1"]

#: Prints a line without its end, then echoes what it receives.
TCP_ECHO = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
print("hello", end="", flush=True)
while True:
    connection, _ = server.accept()
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.close()
"""

WS_ECHO = """
import sys
from websockets.sync.server import serve
def echo(socket):
    for message in socket:
        socket.send(message)
with serve(echo, "127.0.0.1", int(sys.argv[1])) as server:
    server.serve_forever()
"""

#: Ignores TERM, and prints a line for it.
STUBBORN = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: print("not yet", flush=True))
print(os.getpid(), flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


# --- traffic ----------------------------------------------------------------------------------------


def test_a_page_and_ctrl_c(tmp_path: Path) -> None:
    with pagent(tmp_path, "run", "--", *SERVER) as running:
        assert b"Directory listing" in get(running.url)
        running.said('"GET / HTTP/1.1" 200')  # the job's own log, as it comes
        running.ctrl_c()
        code, stdout, stderr = running.ended()
    assert (code, stderr) == (130, ENDING)
    assert stdout.startswith("Serving HTTP on 127.0.0.1 port ")


def test_raw_tcp_with_half_close_and_output_without_the_end_of_a_line(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    with pagent(tmp_path, "run", "--", sys.executable, "-c", TCP_ECHO) as running:
        assert running.process.stdout is not None
        assert running.process.stdout.read(5) == "hello"
        with socket.create_connection(("127.0.0.1", running.port), PATIENCE_S) as connection:
            echoed = bytearray()
            for start in range(0, len(data), 100_000):
                connection.sendall(data[start : start + 100_000])
                while len(echoed) < start:
                    echoed += connection.recv(1 << 20)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(1 << 20):
                echoed += more
        assert echoed == data
        running.process.terminate()
        assert running.ended() == (0, "", ENDING)


def test_a_websocket(tmp_path: Path) -> None:
    with pagent(tmp_path, "run", "--", sys.executable, "-c", WS_ECHO, "{port}") as running:
        with connect(f"ws://127.0.0.1:{running.port}/", proxy=None) as websocket:
            for message in ("text", b"bytes", "", "x" * 500_000):
                websocket.send(message)
                assert websocket.recv(PATIENCE_S) == message
        running.ctrl_c()
        assert running.ended()[0] == 130


def test_the_chosen_local_port(tmp_path: Path) -> None:
    with socket.socket() as held:
        # Linux does not choose a bound port for others, and lets a second socket bind it while none listens.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        if sys.platform != "linux":
            held.close()
        with pagent(tmp_path, "run", "--open", str(port), "--", *SERVER) as running:
            assert running.port == port
            assert b"Directory listing" in get(running.url)
            running.ctrl_c()
            assert running.ended()[0] == 130


def test_a_remote_agent(tmp_path: Path, place: RemoteProcess) -> None:
    (tmp_path / "here").mkdir()
    with pagent(tmp_path / "here", "run", *place.options, "--", *SERVER) as running:
        assert b"Directory listing" in get(running.url)
        assert len(place.jobs) == 1
        running.ctrl_c()
        assert running.ended()[0] == 130
    assert place.jobs == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_link_ends_the_command(tmp_path: Path, kind: str) -> None:
    (tmp_path / "here").mkdir()
    with (
        remote_process(kind, tmp_path) as place,
        pagent(tmp_path / "here", "run", *place.options, "--", *SERVER) as running,
    ):
        place.entry.process.terminate()
        code, _, stderr = running.ended()
        assert code != 0
        assert "pagent: " in stderr
        assert "Traceback" not in stderr


# --- its end ----------------------------------------------------------------------------------------

#: Accepts one connection, then ends as {how} says.
ENDS = """
import os, signal, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
server.accept()
print("the last words", end="", flush=True)
{how}
"""


@pytest.mark.parametrize(
    ("how", "code"), [("sys.exit(7)", 7), ("pass", 0), ("os.kill(os.getpid(), signal.SIGTERM)", 143)]
)
def test_the_exit_code_of_the_job(tmp_path: Path, how: str, code: int) -> None:
    command = [sys.executable, "-c", ENDS.replace("{how}", how), "{port}"]
    with pagent(tmp_path, "run", "--", *command) as running, socket.create_connection(("127.0.0.1", running.port)):
        assert running.ended()[:2] == (code, "the last words")


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (
            "echo out; echo err >&2; exit 3",
            3,
            "err\npagent: the command ended with exit code 3 before it listened on port \\d+\n",
        ),
        ("kill -KILL $$", 137, "pagent: the command was ended by SIGKILL before it listened on port \\d+\n"),
        ("kill -35 $$", 163, r"pagent: the command was ended by SIGRTMIN\+1 before it listened on port \d+\n"),
    ],
)
def test_a_job_that_ends_before_it_listens(tmp_path: Path, script: str, code: int, words: str) -> None:
    ended, _, stderr = run(tmp_path, "--", "sh", "-c", script)
    assert ended == code
    assert re.fullmatch(words, stderr)


def test_texts_that_are_not_utf_8(tmp_path: Path) -> None:
    """File names are bytes; the folder is the current one of a user."""
    text = os.fsdecode(b"d\xf6r")
    folder = here_of(tmp_path) / text
    folder.mkdir(parents=True)
    script = 'printf %s "${PWD##*/}" "$0" "$A" | od -An -tx1; exit 5'
    ended, stdout, _ = run(tmp_path, "--dir", str(folder), "-e", f"A={text}", "--", "sh", "-c", script, text)
    assert (ended, stdout.split()) == (5, ["64", "f6", "72"] * 3)


def test_options_after_the_command_belong_to_it(tmp_path: Path) -> None:
    script = "import sys; print(sys.argv[1:])"
    code, stdout, _ = run(tmp_path, sys.executable, "-c", script, "--token", "t", "--wait", "-h", "--", "x")
    assert (code, stdout) == (1, "['--token', 't', '--wait', '-h', '--', 'x']\n")


def test_a_misspelt_option_is_an_error(tmp_path: Path) -> None:
    code, _, stderr = run(tmp_path, "--opne", "8080", "--", "true")
    assert code == 2
    assert "No such option '--opne'" in stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_ends_although_stderr_is_closed(tmp_path: Path, number: signal.Signals) -> None:
    with pagent(tmp_path, "run", "--", *SERVER) as running:
        assert running.process.stderr is not None
        running.process.stderr.close()
        running.process.send_signal(number)
        assert running.process.wait(PATIENCE_S) == 0


def test_output_after_the_exit_of_the_command_is_printed(tmp_path: Path) -> None:
    code, stdout, _ = run(tmp_path, "--", "sh", "-c", "(sleep 0.2; seq 20000) & exit 3; $PORT")
    assert (code, stdout) == (3, "".join(f"{number}\n" for number in range(1, 20001)))


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_descriptors(tmp_path: Path, closed: tuple[int, ...]) -> None:
    command = [sys.executable, "-m", "pagent", "run", "--", "sh", "-c", "echo said; exit 3; $PORT"]
    shell = " ".join([shlex.join(command), *(f"{number}>&-" for number in closed)])
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, env=environment(tmp_path), check=False)
    assert (done.returncode, done.stdout) == (3, "" if 1 in closed else "said\n")
    said = INTRODUCTION.sub("", done.stderr)
    assert said == "" or said.startswith("pagent: the command ended with exit code 3 before it listened on port ")


def test_it_ends_although_stderr_is_full(tmp_path: Path) -> None:
    """The job fills a pipe that has no reader."""
    read, write = os.pipe()
    script = "import os, time\nprint(os.getpid(), flush=True)\nos.write(2, bytes(1 << 20))\ntime.sleep(1000)"
    command = [sys.executable, "-m", "pagent", "run", "--wait", "1000", "--", sys.executable, "-c", script]
    env = environment(tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=write, env=env, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            job = psutil.Process(int(process.stdout.readline()))
            os.close(write)
            room = select.poll()
            room.register(read, select.POLLIN)
            assert room.poll(1000 * PATIENCE_S)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
            assert not job.is_running()
        finally:
            process.kill()
            os.close(read)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pagent", "run", "--", "echo", "said"]
    env = environment(tmp_path)
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=env, check=False)
    assert done.returncode == 1
    assert "pagent: stdout cannot be written: No space left on device" in done.stderr


def test_a_second_ctrl_c_kills_the_job(tmp_path: Path) -> None:
    with pagent(tmp_path, "run", "--", sys.executable, "-c", STUBBORN, "{port}") as running:
        assert running.process.stdout is not None
        job = psutil.Process(int(running.process.stdout.readline()))
        running.ctrl_c()
        assert running.process.stdout.readline() == "not yet\n"
        assert job.is_running()
        running.ctrl_c()
        code, _, stderr = running.ended()
        assert (code, stderr) == (130, ENDING)
        assert not job.is_running()


#: Prints much while it shuts down.
TIDY = """
import http.server, os, signal, sys
print(os.getpid(), flush=True)
def end(*_):
    for n in range(300):
        print("tidying up", n, "x" * 1000, flush=True)
    print("a word on stderr", file=sys.stderr, flush=True)
    print("bye", end="", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_output_of_the_shutdown_is_printed(tmp_path: Path) -> None:
    with pagent(tmp_path, "run", "--", sys.executable, "-c", TIDY, "{port}") as running:
        assert running.process.stdout is not None
        job = psutil.Process(int(running.process.stdout.readline()))
        running.ctrl_c()
        job.wait(PATIENCE_S)  # the output is read only now, and is larger than a pipe
        code, stdout, stderr = running.ended()
    lines = stdout.splitlines()
    assert [line.split(" x")[0] for line in lines] == [f"tidying up {n}" for n in range(300)] + ["bye"]
    assert (code, stderr) == (130, ENDING + "a word on stderr\n")


def test_output_of_the_shutdown_comes_from_a_remote_agent_too(tmp_path: Path, place: RemoteProcess) -> None:
    (tmp_path / "here").mkdir()
    with pagent(tmp_path / "here", "run", *place.options, "--", sys.executable, "-c", TIDY, "{port}") as running:
        running.ctrl_c()
        code, stdout, _ = running.ended()
    assert (code, stdout[-4:]) == (130, "\nbye")


def test_on_a_terminal_too(tmp_path: Path) -> None:
    """Ctrl-C as a key: the terminal sends the signal."""
    with on_terminal(tmp_path, "run", "--", sys.executable, "-c", TIDY, "{port}") as on:
        on.terminal.until("press Ctrl-C to stop")
        on.terminal.type("\x03")
        screen = on.terminal.until("\nbye")
        code, rest = on.ended()
    assert code == 130
    screen += rest
    assert "tidying up 299" in screen
    assert "a word on stderr" in screen
    assert os.listdir(tmp_path) == []


def test_unread_output_stops_neither_the_traffic_nor_the_end(tmp_path: Path) -> None:
    flood = "import sys\nsys.stdout.write('x' * 3_000_000); sys.stdout.flush()\n" + TCP_ECHO
    with pagent(tmp_path, "run", "--", sys.executable, "-c", flood) as running:
        with socket.create_connection(("127.0.0.1", running.port), PATIENCE_S) as connection:
            connection.sendall(b"still there?")
            assert connection.recv(100) == b"still there?"
        running.ctrl_c()
        assert running.process.wait(PATIENCE_S) == 130


def test_a_closed_output_pipe_is_ignored(tmp_path: Path) -> None:
    with pagent(tmp_path, "run", "--", *SERVER) as running:
        assert running.process.stdout is not None
        running.process.stdout.close()
        assert b"Directory listing" in get(running.url)
        running.process.terminate()
        assert running.process.stderr is not None
        assert "Traceback" not in running.process.stderr.read()
        assert running.process.wait(PATIENCE_S) == 0


# --- failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["no-such-program"], 127, "no-such-program: command not found"),
        (["./here/app"], 127, "./here/app: no such file in /"),
        (["/etc/passwd"], 126, "/etc/passwd: cannot be executed: "),
        (["--wait", "0.2", "--", "sleep", "60"], 1, "the process did not start in time: its port did not accept"),
        (["--agent", "127.0.0.1:1", "--token-file", __file__, "--", "true"], 4, "127.0.0.1:1: Connection refused"),
        (
            ["--agent", "nonsense", "--token-file", __file__, "--", "x"],
            2,
            "'nonsense' is not a valid address: port missing",
        ),
    ],
)
def test_a_failure_is_one_line(tmp_path: Path, command: Sequence[str], code: int, words: str) -> None:
    ended, stdout, stderr = run(tmp_path, *command)
    assert (ended, stdout) == (code, "")
    assert stderr.startswith(f"pagent: {words}")
    assert stderr.count("\n") == 1


def test_a_local_port_in_use_fails_before_the_job_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outcome = run(tmp_path, "--open", str(port), "--", "sh", "-c", "echo started")
    words = f"pagent: cannot listen on 127.0.0.1:{port}: address already in use"
    assert (outcome[:2], outcome[2].startswith(words)) == ((1, ""), True)
    assert outcome[2].endswith("; choose another with -p\n")
    if sys.platform == "linux":
        assert f"(pid {os.getpid()})" in outcome[2]


@pytest.mark.parametrize(
    ("command", "words"),
    [([], "Missing argument 'COMMAND...'"), (["--agent", "127.0.0.1:1", "--", "true"], "a token is required")],
)
def test_an_invalid_command_line(tmp_path: Path, command: Sequence[str], words: str) -> None:
    code, _, stderr = run(tmp_path, *command)
    assert code == 2
    assert words in stderr


async def test_a_token_that_is_not_accepted(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "here").mkdir()
    async with agent_process(tmp_path / "jobs") as agent:
        address = f"127.0.0.1:{agent.ports['rpc']}"
        code, _, stderr = run(tmp_path / "here", "--agent", address, *with_token(tmp_path, "wrong-one"), "--", "true")
        assert code == 5
        words = f"pagent: {address}: handshake refused: the token is not accepted; use another token"
        assert INTRODUCTION.sub("", stderr).startswith(words)
        assert "wrong-one" not in stderr


# --- forward ----------------------------------------------------------------------------------------


async def test_forward_ends_with_its_job(tmp_path: Path, place: RemoteProcess) -> None:
    (tmp_path / "here").mkdir()
    async with peers.dial(place.port, TOKEN) as peer:
        job = await start_program(peer, ECHO)
        with pagent(tmp_path / "here", "forward", *place.options, job) as running:
            assert get(f"{running.url}a").startswith(b"GET /a HTTP/1.1\r\n")
            running.ctrl_c()
            assert running.ended() == (130, "", ENDING)
        with pagent(tmp_path / "here", "forward", *place.options, job) as running:
            assert (await peer.call("job_info", job))["state"] == "RUNNING"
            await peer.call("job_kill", job)
            assert running.ended() == (0, "", "pagent: the job has ended by SIGTERM\n")
        await peer.call("job_remove", job)


def test_forward_to_an_unknown_job(tmp_path: Path, place: RemoteProcess) -> None:
    (tmp_path / "here").mkdir()
    with pagent(tmp_path / "here", "forward", *place.options, "nonsense", url=False) as running:
        assert running.ended() == (3, "", "pagent: job 'nonsense' is not found; pagent ps -a lists all jobs\n")


async def test_forward_to_a_job_without_the_port(tmp_path: Path, place: RemoteProcess) -> None:
    (tmp_path / "here").mkdir()
    async with peers.dial(place.port, TOKEN) as peer:
        idle = (await peer.call("job_create"))["uid"]
        with pagent(tmp_path / "here", "forward", *place.options, idle, url=False) as running:
            assert running.ended() == (1, "", f"pagent: job {idle} does not run: NEW\n")
        job = await start_program(peer, ECHO)
        (port,) = (await peer.call("job_info", job))["ports"]
        with pagent(tmp_path / "here", "forward", *place.options, "--port", "5", job, url=False) as running:
            assert running.ended() == (1, "", f"pagent: the job has no port 5, only {port}\n")
        for uid in (idle, job):
            await peer.call("job_remove", uid)
