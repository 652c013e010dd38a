"""A pseudo-terminal as a person sees it, and commands that run on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kit.commands import environment
from tests.kit.peer import PATIENCE_S


class Terminal:
    """A pseudo-terminal: ``device`` is for the command, the other end is the person's."""

    def __init__(self, rows: int = 24, columns: int = 80) -> None:
        self._person, self.device = pty.openpty()
        self.resize(rows, columns)
        self._text = ""
        self.is_gone = False

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.device, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def attributes(self) -> list[Any]:
        """Its modes, as of tcgetattr(3)."""
        return termios.tcgetattr(self.device)

    def type(self, text: str) -> None:
        os.write(self._person, text.encode())

    def until(self, text: str) -> str:
        """Return the output up to ``text``."""
        while text not in self._text:
            assert select.select([self._person], [], [], PATIENCE_S)[0], self._text
            self._text += os.read(self._person, 4096).decode(errors="replace")
        found, end, self._text = self._text.partition(text)
        return found + end

    def rest(self) -> str:
        """Return the output that has arrived."""
        while select.select([self._person], [], [], 0.1)[0]:
            self._text += os.read(self._person, 4096).decode(errors="replace")
        rest, self._text = self._text, ""
        return rest

    def hang_up(self) -> None:
        """Close the window: SIGHUP for the command."""
        os.close(self._person)
        self.is_gone = True

    def close(self) -> None:
        if not self.is_gone:
            os.close(self._person)
        os.close(self.device)


#: Makes stdin the controlling terminal of its session, and executes its arguments.
_TAKES_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class OnTerminal:
    """``pagent`` as the foreground process of a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: Terminal) -> None:
        self.process = process
        self.terminal = terminal

    def resize(self, rows: int, columns: int) -> None:
        """Resize the window."""
        self.terminal.resize(rows, columns)
        self.process.send_signal(signal.SIGWINCH)

    def ended(self) -> tuple[int, str]:
        """Return the exit code, and the rest of the output."""
        code = self.process.wait(PATIENCE_S)
        return code, self.terminal.rest()


@contextmanager
def on_terminal(
    tmp_path: Path, *arguments: str, rows: int = 24, columns: int = 80, here: Path | None = None, **env: str
) -> Iterator[OnTerminal]:
    """Run ``pagent`` with its sandboxes under ``tmp_path``. A terminal that is left must be as before at the end."""
    terminal = Terminal(rows, columns)
    before = terminal.attributes()
    words = [sys.executable, "-c", _TAKES_TERMINAL, sys.executable, "-m", "pagent", *arguments]
    process = subprocess.Popen(
        words,
        stdin=terminal.device,
        stdout=terminal.device,
        stderr=terminal.device,
        env=environment(tmp_path) | {"TERM": "xterm", "NO_COLOR": "1"} | env,
        start_new_session=True,
        cwd=here,
    )
    try:
        yield OnTerminal(process, terminal)
        process.wait(PATIENCE_S)
        assert terminal.is_gone or terminal.attributes() == before
    finally:
        process.kill()
        process.wait()
        terminal.close()
