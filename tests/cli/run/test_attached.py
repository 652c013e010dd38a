"""``pagent run``: the folder of a job, its ports, its files and its output."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pagent.jobs.given_ports import free_port
from tests.kit.commands import ENDING, environment, get, here_of, pagent, run
from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import RemoteProcess
from tests.kit.terminal import on_terminal

PYTHON = sys.executable

#: Writes a file, prints a line without flushing, then listens on the port in its first argument.
APP = """
import http.server, sys
with open("made.txt", "w") as file:
    file.write("kept")
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
print("open http://localhost:%s/?token=x" % sys.argv[1])
server.serve_forever()
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return the current folder of the command, which has the user's files."""
    folder = here_of(tmp_path)
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


# --- the folder -------------------------------------------------------------------------------------


def test_it_runs_in_the_current_folder_and_its_files_stay(tmp_path: Path, here: Path) -> None:
    with pagent(tmp_path, "run", "--", PYTHON, "app.py", "{port}") as running:
        assert b"app.py" in get(running.url)
        running.ctrl_c()
        code, _, stderr = running.ended()
    assert (code, ENDING in stderr) == (130, True)
    assert sorted(os.listdir(here)) == ["app.py", "made.txt"]
    assert (here / "made.txt").read_text() == "kept"


def test_the_job_and_its_folder_are_named(tmp_path: Path, here: Path) -> None:
    with pagent(tmp_path, "run", "--", PYTHON, "app.py", "{port}", url=False) as running:
        assert running.said(r"^pagent: job [0-9a-f]{32} runs in (.*)$")[1] == str(here)
        running.said("press Ctrl-C to stop")
        running.ctrl_c()
        assert running.ended()[0] == 130


def test_another_folder(tmp_path: Path, here: Path) -> None:
    (here / "other").mkdir()
    (here / "app.py").rename(here / "other" / "app.py")
    with pagent(tmp_path, "run", "--dir", "other", "--", PYTHON, "app.py", "{port}") as running:
        running.ctrl_c()
        assert running.ended()[0] == 130
    assert sorted(os.listdir(here / "other")) == ["app.py", "made.txt"]


def test_files_in_a_sandbox_are_deleted_and_named(tmp_path: Path, here: Path) -> None:
    with pagent(tmp_path, "run", "--sandbox", "--", PYTHON, "-c", APP, "{port}") as running:
        assert b"app.py" not in get(running.url)
        running.ctrl_c()
        code, _, stderr = running.ended()
    deleted = "1 file (made.txt) is deleted with the job's folder on this machine; --keep DIR downloads such files"
    assert code == 130
    assert stderr.endswith(f"pagent: {deleted}\n")
    assert os.listdir(here) == ["app.py"]


def test_a_program_of_this_folder(tmp_path: Path, here: Path) -> None:
    script = here / "serve"
    script.write_text(f'#!/bin/sh\nexec {PYTHON} -m http.server "$PORT" --bind 127.0.0.1\n')
    code, _, stderr = run(tmp_path, "--", "serve")
    assert code == 127
    assert stderr.startswith(f"pagent: serve: command not found; to run the file in {here}, write ./serve")
    code, _, stderr = run(tmp_path, "--", "./serve")
    assert code == 126
    assert stderr.startswith("pagent: ./serve: cannot be executed: permission denied; run chmod +x ./serve, or put it")
    script.chmod(0o755)
    with pagent(tmp_path, "run", "--", "./serve") as running:
        assert b"app.py" in get(running.url)
        running.ctrl_c()
        assert running.ended()[0] == 130


def test_a_current_folder_that_was_deleted(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'rmdir "{gone}"; exec "$0" -m pagent run -- true'
    done = subprocess.run(
        ["sh", "-c", script, PYTHON], cwd=gone, env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "the current folder does not exist" in done.stderr


# --- ports ------------------------------------------------------------------------------------------


def test_a_program_that_listens_on_another_port(tmp_path: Path, here: Path) -> None:
    port = free_port()
    with pagent(tmp_path, "run", "--", PYTHON, "app.py", str(port), url=False) as running:
        running.said(r"^pagent: the command has no \{port\}, .*--port N$")
        running.said(rf"^pagent: it listens on port {port}; use --port {port}$")
        running.said(r"^pagent: waiting for port \d+$")
        running.ctrl_c()
        assert running.ended()[0] == 130
    with pagent(tmp_path, "run", "--port", str(port), "--", PYTHON, "app.py", str(port)) as running:
        assert running.port != port
        assert b"app.py" in get(running.url)
        running.ctrl_c()
        assert running.ended()[0] == 130


def test_a_timeout_names_the_port_that_it_listens_on(tmp_path: Path, here: Path) -> None:
    port = free_port()
    code, _, stderr = run(tmp_path, "--wait", "3", "--", PYTHON, "app.py", str(port))
    assert code == 1
    assert stderr.splitlines()[-1].endswith(f"within 3 s; it listens on port {port}; use --port {port}")


#: Listens on each port in its arguments, and sends its number on each connection.
SEVERAL = """
import socket, sys
print(*sys.argv[1:], flush=True)
servers = [socket.create_server(("127.0.0.1", int(port))) for port in sys.argv[2:]]
import select
while True:
    for server in select.select(servers, [], [])[0]:
        connection, _ = server.accept()
        connection.sendall(b"%d" % server.getsockname()[1])
        connection.close()
"""


def number_at(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        return int(connection.makefile("rb").read())


def test_several_ports(tmp_path: Path) -> None:
    first, second, local, other = (free_port() for _ in range(4))
    publish = ["-p", f"{local}:{first}", "-p", f"{other}:{second}"]
    with pagent(tmp_path, "run", *publish, "--", PYTHON, "-c", SEVERAL, "{{port}}", str(first), str(second)) as running:
        assert running.port == local
        assert (number_at(local), number_at(other)) == (first, second)
        assert running.process.stdout is not None
        assert running.process.stdout.readline() == f"{{port}} {first} {second}\n"
        running.ctrl_c()
        assert running.ended()[0] == 130


def test_ports_by_name(tmp_path: Path) -> None:
    local = free_port()
    command = [PYTHON, "-c", SEVERAL, "x", "{port}", "{port:db}", "{port:web}"]
    with pagent(tmp_path, "run", "-p", f"{local}:db", "--", *command, url=False) as running:
        web = int(running.said(r"^pagent: 127\.0\.0\.1:(\d+) forwards to the job's port web$")[1])
        running.said(rf"^pagent: 127\.0\.0\.1:{local} forwards to the job's port db$")
        main = int(running.said(r"^pagent: 127\.0\.0\.1:(\d+) forwards to the job; press Ctrl-C to stop$")[1])
        assert running.process.stdout is not None
        ports = [int(port) for port in running.process.stdout.readline().split()[1:]]
        assert [number_at(main), number_at(local), number_at(web)] == ports
        running.ctrl_c()
        assert running.ended()[0] == 130


def test_the_same_local_port_and_job_port_is_not_forwarded(tmp_path: Path) -> None:
    port = free_port()
    command = [PYTHON, "-c", SEVERAL, "x", str(port)]
    with pagent(tmp_path, "run", "-p", f"{port}:{port}", "--", *command, url=False) as running:
        running.said(rf"^pagent: 127\.0\.0\.1:{port} is the job itself; press Ctrl-C to stop$")
        assert number_at(port) == port
        running.ctrl_c()
        assert running.ended()[0] == 130


def test_a_port_of_the_command_that_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outcome = run(tmp_path, "--port", str(port), "--", "sleep", "1000")
    assert outcome[:2] == (1, "")
    words = r"is in use(?: by .* \(pid \d+\))?: stop the program that uses it, or choose another port"
    assert re.fullmatch(rf"pagent: port {port} {words}\n", outcome[2])


def test_the_local_port_is_stable_while_it_is_free(tmp_path: Path, here: Path) -> None:
    seen = []
    for _ in range(2):
        with pagent(tmp_path, "run", "--", PYTHON, "app.py", "{port}") as running:
            seen.append(running.port)
            get(running.url)
            running.ctrl_c()
            assert running.ended()[0] == 130
    assert seen[0] == seen[1]
    taken = socket.create_server(("127.0.0.1", seen[0]))
    with taken, pagent(tmp_path, "run", "--", PYTHON, "app.py", "{port}") as running:
        assert running.port != seen[0]
        running.ctrl_c()
        assert running.ended()[0] == 130


def test_a_printed_url_is_repeated_for_the_local_port(tmp_path: Path, here: Path) -> None:
    with pagent(tmp_path, "run", "--", PYTHON, "app.py", "{port}", url=False) as running:
        port = running.said(r"^pagent: http://127\.0\.0\.1:(\d+)/\?token=x forwards to the job$")[1]
        running.said(rf"^pagent: http://127\.0\.0\.1:{port}/ forwards to the job; press Ctrl-C to stop$")
        running.ctrl_c()
        assert running.ended()[::2] == (130, ENDING)


def test_a_program_that_speaks_no_http_has_no_url(tmp_path: Path, here: Path) -> None:
    script = here / "redis-server"
    script.write_text(f"#!{PYTHON}\n{SEVERAL}")
    script.chmod(0o755)
    with pagent(tmp_path, "run", "--browser", "--", "./redis-server", "x", "{port}", url=False) as running:
        running.said(r"^pagent: 127\.0\.0\.1:\d+ forwards to the job; press Ctrl-C to stop$")
        running.said("^pagent: no browser is opened: the job does not speak HTTP$")
        running.ctrl_c()
        assert running.ended()[0] == 130


# --- output and ends --------------------------------------------------------------------------------


def test_what_python_prints_appears_while_it_runs(tmp_path: Path, here: Path) -> None:
    with pagent(tmp_path, "run", "--", PYTHON, "app.py", "{port}") as running:
        assert running.process.stdout is not None
        assert running.process.stdout.readline().startswith("open http://localhost:")
        running.ctrl_c()
        assert running.ended()[0] == 130


def test_exit_code_0_before_it_listens_is_a_failure(tmp_path: Path) -> None:
    code, _, stderr = run(tmp_path, "--", "sh", "-c", "exit 0")
    assert code == 1
    assert re.fullmatch(
        r"pagent: the command ended with exit code 0 before it listened on port \d+; "
        r"a server has to stay in the foreground\n",
        stderr,
    )


@pytest.mark.parametrize("plain", [True, False])
def test_the_url_is_printed_last_and_in_bold_on_a_terminal(tmp_path: Path, here: Path, plain: bool) -> None:
    command = ("run", "--", PYTHON, "app.py", "{port}")
    with on_terminal(tmp_path, *command, here=here, NO_COLOR="1" if plain else "") as on:
        screen = on.terminal.until("press Ctrl-C to stop") + on.terminal.until("\n")
        on.terminal.hang_up()
        assert on.process.wait(PATIENCE_S) == 0
    before, url = screen.rstrip().rsplit("\r\n", 1)
    assert "open http://localhost:" in before
    assert url.startswith("pagent: http://" if plain else "\033[1;32mpagent: http://")
    assert url.endswith("stop" if plain else "stop\033[0m")
    assert os.listdir(tmp_path) == []


# --- a remote agent ---------------------------------------------------------------------------------


@pytest.fixture
def there(place: RemoteProcess, tmp_path: Path) -> list[str]:
    """Return the options for a remote agent. The command uses tmp_path/here."""
    (tmp_path / "here").mkdir()
    return place.options


#: Changes one file and makes another, then serves, or exits with the code in its second argument.
WORKS = """
import http.server, os, sys
os.makedirs("results/deep", exist_ok=True)
open("results/deep/out.txt", "w").write("made")
open("input.txt", "a").write(" changed")
if len(sys.argv) > 2:
    sys.exit(int(sys.argv[2]))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def folder_with_work(path: Path) -> Path:
    (path / "empty").mkdir(parents=True)
    (path / "works.py").write_text(WORKS)
    (path / "input.txt").write_text("input")
    (path / "data.txt").write_text("data")
    # The agent reports times in seconds.
    for name in ("works.py", "input.txt", "data.txt"):
        os.utime(path / name, (1_700_000_000, 1_700_000_000))
    return path


@pytest.mark.parametrize(("how", "code"), [("Ctrl-C", 130), ("3", 3), ("0", 1)])
async def test_files_are_uploaded_and_downloaded(tmp_path: Path, there: list[str], how: str, code: int) -> None:
    up, keep = folder_with_work(tmp_path / "up"), tmp_path / "keep" / "new"
    options = [*there, "--upload", str(up), "--keep", str(keep)]
    command = [PYTHON, "works.py", "{port}", *([] if how == "Ctrl-C" else [how])]
    with pagent(tmp_path / "here", "run", *options, "--", *command, url=how == "Ctrl-C") as running:
        if how == "Ctrl-C":
            assert b"results" in get(running.url)
            running.ctrl_c()
        ended, _, stderr = await asyncio.to_thread(running.ended)
    assert ended == code
    assert stderr.endswith(f"pagent: 2 files downloaded to {keep}\n")
    assert sorted(path.name for path in keep.rglob("*") if path.is_file()) == ["input.txt", "out.txt"]
    assert (keep / "results" / "deep" / "out.txt").read_text() == "made"
    assert (keep / "input.txt").read_text() == "input changed"
    assert (up / "input.txt").read_text() == "input"


async def test_a_file_that_changed_locally_is_not_overwritten(tmp_path: Path, there: list[str]) -> None:
    up = folder_with_work(tmp_path / "up")
    options = [*there, "--upload", str(up), "--keep", str(up)]
    with pagent(tmp_path / "here", "run", *options, "--", PYTHON, "works.py", "{port}") as running:
        (up / "input.txt").write_text("edited here")
        (up / "data.txt").write_text("edited here")
        running.ctrl_c()
        code, _, stderr = await asyncio.to_thread(running.ended)
    assert code == 130
    assert "pagent: input.txt was changed on this machine as well; the job's version is input.txt.job\n" in stderr
    assert [(up / name).read_text() for name in ("input.txt", "data.txt")] == ["edited here", "edited here"]
    assert (up / "input.txt.job").read_text() == "input changed"
    assert (up / "results" / "deep" / "out.txt").read_text() == "made"
    names = ["data.txt", "empty", "input.txt", "input.txt.job", "results", "works.py"]
    assert sorted(os.listdir(up)) == names


async def test_names_that_are_not_unicode_are_kept(tmp_path: Path, there: list[str]) -> None:
    script = "import os; open(b'na\\xefve.txt', 'w').write('x')"
    keep = tmp_path / "keep"
    command = ["--keep", str(keep), "--", PYTHON, "-c", script]
    code, _, stderr = await asyncio.to_thread(run, tmp_path / "here", *there, *command)
    assert code == 1
    assert stderr.endswith(f"pagent: 1 file downloaded to {keep}\n")
    assert os.listdir(os.fsencode(keep)) == [b"na\xefve.txt"]


async def test_deleted_files_are_named(tmp_path: Path, there: list[str]) -> None:
    up = folder_with_work(tmp_path / "up")
    command = ["--upload", str(up), "--", PYTHON, "works.py", "{port}", "3"]
    with pagent(tmp_path / "here", "run", *there, *command, url=False) as running:
        running.said(rf"runs on {there[1]} in a new folder, which is deleted at the end")
        code, _, stderr = await asyncio.to_thread(running.ended)
    assert code == 3
    deleted = f"2 files (input.txt, results/deep/out.txt) are deleted with the job's folder on {there[1]}"
    assert stderr.endswith(f"pagent: {deleted}; --keep DIR downloads such files\n")


async def test_no_message_if_no_files_are_deleted(tmp_path: Path, there: list[str]) -> None:
    outcome = await asyncio.to_thread(run, tmp_path / "here", *there, "--", "sh", "-c", "exit 3")
    assert (outcome[0], outcome[2].count("\n")) == (3, 1)


async def test_a_keep_folder_that_is_not_writable_fails_before_the_start(tmp_path: Path, there: list[str]) -> None:
    (tmp_path / "file").touch()
    command = ["--keep", str(tmp_path / "file" / "keep"), "--", "sh", "-c", "echo started"]
    outcome = await asyncio.to_thread(run, tmp_path / "here", *there, *command)
    assert outcome == (1, "", f"pagent: --keep: cannot write to {tmp_path}/file/keep: Not a directory\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--keep", "x"], "--keep requires --agent or --sandbox: otherwise the command runs in the current folder"),
        (["--sandbox", "--dir", "/"], "--sandbox and --dir cannot be used together"),
        (["--dir", "missing"], "--dir: no such folder"),
        (["-p", "x"], "'x' is not a valid port mapping: write LOCAL or LOCAL:JOB"),
    ],
)
def test_invalid_options(tmp_path: Path, options: list[str], words: str) -> None:
    code, _, stderr = run(tmp_path, *options, "--", "true")
    assert code == 2
    assert words in " ".join(stderr.split())
