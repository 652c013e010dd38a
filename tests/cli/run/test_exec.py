"""``pagent exec -it`` on a real terminal, and ``exec`` with pipes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.commands import command
from tests.kit.commands import environment
from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import RemoteProcess, remote_process
from tests.kit.terminal import on_terminal


@contextmanager
def a_job(place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """Yield the options for a job that does nothing, with its uid."""
    run = command(place, tmp_path, capfd)
    uid = run("start", "--", "sleep", "600").stdout.strip()
    yield [*place.options, uid]
    run("rm", uid)


@pytest.mark.parametrize("end", ["exit 5", "signal"])
def test_a_shell_on_a_terminal(
    place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str], end: str
) -> None:
    options = ["-e", "PS1=ready> ", "-it"]
    with (
        a_job(place, tmp_path, capfd) as job,
        on_terminal(tmp_path, "exec", *options, *job, "sh", rows=30, columns=100) as shell,
    ):
        terminal = shell.terminal
        terminal.type("stty size; echo en'd'\r")
        assert "30 100" in terminal.until("end\r\n")
        shell.resize(40, 90)
        terminal.type("until stty size | grep '40 90'; do sleep 0.05; done; echo don'e'\r")
        terminal.until("done\r\n")
        terminal.type("cat\r")
        terminal.type("word\r")
        terminal.until("word\r\nword\r\n")
        terminal.type("\x03")  # for cat, which ends, and not for the command
        terminal.until("ready> ")
        terminal.type("sh -c 'echo g''o; exec sleep 100'\r")
        terminal.until("go\r\n")
        terminal.type("\x1a")  # job control is that of the shell in the job
        terminal.until("ready> ")
        terminal.type("echo her'e'\r")
        terminal.until("here\r\n")
        if end == "signal":
            shell.process.terminate()
        else:
            terminal.type("exit 5\rexit 5\r")
        assert shell.ended()[0] == (130 if end == "signal" else 5)


#: Uses the terminal as editors do: the alternate screen, the mouse, no cursor.
FULL_SCREEN = r"printf '\033[?1049h\033[?1000h\033[?25l\033[?2004hscreen'; exec sleep 1000"
RESTORED = "\x1b[?25h\x1b[?1000l\x1b[?1049l\x1b[?2004l\x1b[m"


def test_the_screen_is_restored_when_the_agent_is_killed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "here").mkdir()
    with remote_process("agent", tmp_path) as place:
        uid = command(place, tmp_path, capfd)("start", "--", "sleep", "600").stdout.strip()
        with on_terminal(tmp_path, "exec", *place.options, "-it", uid, "sh", "-c", FULL_SCREEN) as screen:
            screen.terminal.until("screen")
            place.entry.process.kill()
            code, rest = screen.ended()
        assert code == 4
        assert RESTORED in rest
        assert "pagent: link closed" in rest


@pytest.mark.parametrize("how", ["exit 0", "kill -9 $$"])
def test_modes_that_a_program_leaves_by_itself_stay(
    place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str], how: str
) -> None:
    script = rf"printf '\033[?25l'; {how}"
    with (
        a_job(place, tmp_path, capfd) as job,
        on_terminal(tmp_path, "exec", "-it", *job, "sh", "-c", script) as screen,
    ):
        _, rest = screen.ended()
    assert ("\x1b[?25h" in rest) is (how != "exit 0")


def test_without_a_terminal_t_is_refused_with_i(
    place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = command(place, tmp_path, capfd)
    with a_job(place, tmp_path, capfd) as job:
        code, stdout, stderr = run("exec", "-it", job[-1], "cat", stdin="text")
        assert (code, stdout) == (1, "")
        assert stderr == "pagent: the input device is not a TTY: use -i without -t\n"
        assert run("exec", "-t", job[-1], "sh", "-c", "tty >&2; stty size").stdout.endswith("24 80\r\n")


def test_binary_data_through_pipes(place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = os.urandom(3_000_000)
    with a_job(place, tmp_path, capfd) as job:
        words = [sys.executable, "-m", "pagent", "exec", "-i", *job, "cat"]
        done = subprocess.run(
            words, input=data, capture_output=True, env=environment(tmp_path), timeout=PATIENCE_S, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_a_reader_that_wants_no_more_ends_the_process(
    place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with a_job(place, tmp_path, capfd) as job:
        words = [sys.executable, "-m", "pagent", "exec", *job, "yes"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment(tmp_path)) as process:
            assert process.stdout is not None
            assert process.stdout.read(4) == b"y\ny\n"
            process.stdout.close()
            assert process.wait(PATIENCE_S) == 128 + 13
