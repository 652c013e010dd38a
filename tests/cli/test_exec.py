"""``pagent exec -it`` on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import command
from tests.kit.commands import environment
from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import RemoteProcess


class Terminal:
    """A pseudo-terminal: ``device`` is for the command, the other end is the person's."""

    def __init__(self) -> None:
        self._person, self.device = pty.openpty()

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.device, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._person, text.encode())

    def until(self, text: str) -> str:
        """Return the output up to ``text``."""
        read = b""
        while text.encode() not in read:
            read += os.read(self._person, 4096)
        return read.decode()

    def close(self) -> None:
        os.close(self._person)
        os.close(self.device)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


@pytest.mark.parametrize("end", ["exit 5", "signal"])
def test_a_shell_on_a_terminal(
    place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str], terminal: Terminal, end: str
) -> None:
    run = command(place, tmp_path, capfd)
    uid = run("start", "--", "sleep", "60").stdout.strip()
    terminal.resize(30, 100)
    before = termios.tcgetattr(terminal.device)
    words = [sys.executable, "-m", "pagent", "exec", *place.options, "-e", "PS1=ready> ", "-it", uid, "sh"]
    env = environment(tmp_path)
    with subprocess.Popen(
        words, stdin=terminal.device, stdout=terminal.device, stderr=terminal.device, env=env
    ) as shell:
        try:
            terminal.type("stty size; echo en'd'\r")
            assert "30 100" in terminal.until("end\r\n")
            terminal.resize(40, 90)
            shell.send_signal(signal.SIGWINCH)
            terminal.type("until stty size | grep '40 90'; do sleep 0.05; done; echo don'e'\r")
            terminal.until("done\r\n")
            terminal.type("cat\r")
            terminal.type("word\r")
            terminal.until("word\r\nword\r\n")
            terminal.type("\x03")  # for cat, which ends, and not for the command
            terminal.until("ready> ")
            terminal.type("echo her'e'\r")
            terminal.until("here\r\n")
            if end == "signal":
                shell.terminate()
            else:
                terminal.type(f"{end}\r")
            assert shell.wait(PATIENCE_S) == (130 if end == "signal" else 5)
        finally:
            shell.kill()
    assert termios.tcgetattr(terminal.device) == before
    run("rm", uid)
