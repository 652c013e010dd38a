"""``pagent run -i`` and ``-t``: programs that use the terminal or the input of the command."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.commands import environment, run
from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import RemoteProcess
from tests.kit.terminal import on_terminal

PYTHON = sys.executable


def test_a_prompt_of_python(tmp_path: Path) -> None:
    with on_terminal(tmp_path, "run", "-it", "--", PYTHON, "-q", rows=30, columns=100, here=tmp_path) as prompt:
        terminal = prompt.terminal
        terminal.until(">>> ")
        terminal.type("import os; tuple(os.get_terminal_size())\r")
        terminal.until("(100, 30)")
        prompt.resize(20, 40)
        terminal.type("while os.get_terminal_size() != (40, 20): pass\r\rprint('resi' + 'zed')\r")
        terminal.until("resized\r\n")
        terminal.type("while True: print('loo' + 'ping')\r\r")
        terminal.until("looping")
        terminal.type("\x03")
        terminal.until("KeyboardInterrupt")
        terminal.type("exit(7)\r")
        assert prompt.ended()[0] == 7


@pytest.mark.skipif(shutil.which("vim") is None, reason="vim is not installed")
def test_an_editor(place: RemoteProcess, tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "text").write_text("old\n")
    options = ["-it", "--upload", str(tmp_path / "up"), "--keep", str(tmp_path / "keep"), *place.options]
    with on_terminal(tmp_path, "run", *options, "--", "vim", "-u", "NONE", "text", rows=12, columns=40) as editor:
        editor.terminal.until('"text" ')
        editor.terminal.type("onew\x1b:wq\r")
        assert editor.ended()[0] == 0
    assert (tmp_path / "keep" / "text").read_text() == "old\nnew\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_restores_the_screen(tmp_path: Path, number: signal.Signals) -> None:
    script = r"printf '\033[?1049hscreen %s\n' $$; exec sleep 1000"
    with on_terminal(tmp_path, "run", "-it", "--", "sh", "-c", script, here=tmp_path) as screen:
        found = re.search(r"screen (\d+)", screen.terminal.until("\n"))
        assert found is not None
        screen.process.send_signal(number)
        code, rest = screen.ended()
    assert (code, "\x1b[?1049l" in rest) == (0, True)
    with pytest.raises(ProcessLookupError):
        os.kill(int(found[1]), 0)


def test_a_terminal_without_input(tmp_path: Path) -> None:
    code, stdout, _ = run(tmp_path, "-t", "-e", "A=1", "--", "sh", "-c", "test -t 1 && stty size && echo $A; exit 4")
    assert (code, stdout) == (4, "24 80\n1\n")


def test_input_from_a_pipe(tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    words = [PYTHON, "-m", "pagent", "run", "-i", "--", "cat"]
    done = subprocess.run(
        words, input=data, capture_output=True, env=environment(tmp_path), timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stdout == data) == (0, True)


def test_t_and_i_need_a_terminal(tmp_path: Path) -> None:
    assert run(tmp_path, "-it", "--", "true") == (1, "", "pagent: the input device is not a TTY: use -i without -t\n")


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    code, _, stderr = run(tmp_path, "-i", "--", "no-such-program")
    assert (code, "no-such-program: command not found" in stderr) == (127, True)


#: Prints its address, then sends a word on each connection.
SERVES = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("http://localhost:%s/lab?token=t" % sys.argv[1], flush=True)
while True:
    server.accept()[0].sendall(b"word")
"""


def test_ports_of_a_program_on_a_terminal(place: RemoteProcess, tmp_path: Path) -> None:
    command = [PYTHON, "-c", SERVES, "{port}"]
    with on_terminal(tmp_path, "run", "-it", *place.options, "--", *command, columns=200) as served:
        first = served.terminal.until(" forwards to the job\r\n")
        found = re.search(r"pagent: 127\.0\.0\.1:(\d+) forwards", first)
        assert found is not None
        served.terminal.until(f"pagent: http://127.0.0.1:{found[1]}/lab?token=t forwards to the job")
        with socket.create_connection(("127.0.0.1", int(found[1])), PATIENCE_S) as connection:
            assert connection.recv(10) == b"word"
        served.terminal.type("\x03")
        assert served.ended()[0] in (1, 130)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-d", "-it"], "-d and -i cannot be used together"),
        (["-d", "-p", "8080"], "-d and -p cannot be used together"),
        (["-d", "--browser"], "-d and --browser cannot be used together"),
    ],
)
def test_detached_excludes_what_needs_the_command(
    place: RemoteProcess, tmp_path: Path, options: list[str], words: str
) -> None:
    (tmp_path / "jobs").mkdir()
    code, _, stderr = run(tmp_path / "jobs", *place.options, *options, "--", "true")
    assert (code, words in " ".join(stderr.split())) == (2, True)
